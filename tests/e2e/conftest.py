"""Fixtures: everything that a test starts is stopped, also when it fails."""

import subprocess

import pytest

from node import BINARY, Cluster, Node


@pytest.fixture(scope="session", autouse=True)
def _binary():
    assert BINARY.exists(), f"{BINARY} is missing; build it: cargo build"


@pytest.fixture
def new_node(tmp_path):
    started = []

    def make(**words):
        node = Node(words.pop("directory", tmp_path), **words)
        started.append(node)
        return node

    yield make
    for node in started:
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
            node.process.wait()


@pytest.fixture
def new_cluster(tmp_path):
    started = []

    def make(**words):
        cluster = Cluster(tmp_path, **words)
        started.append(cluster)
        return cluster

    yield make
    for cluster in started:
        cluster.resume()
        subprocess.run(
            [str(cluster_script()), "stop"], env=cluster.environment(), cwd=cluster.directory, capture_output=True, timeout=60
        )


def cluster_script():
    from node import SCRIPT

    return SCRIPT
