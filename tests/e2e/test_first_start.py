"""`start --init`, as a container is started: the same words each time, on a volume that may be empty."""

import json
import subprocess

import pytest
from node import request


def cluster_id(node):
    return json.loads(request(f"{node.url}/cluster/status")[2])["cluster"]["id"]


def test_an_empty_directory_becomes_a_node_that_keeps_its_identity(new_node, tmp_path):
    node = new_node()
    node.start("--init").wait_ready()
    first = cluster_id(node)
    identity = (tmp_path / "data" / "cluster1" / "identity.json").read_text()
    assert json.loads(identity)["cluster_id"] == first
    assert node.stop() == 0
    node.start("--init").wait_ready()
    assert cluster_id(node) == first
    kept = json.loads((tmp_path / "data" / "cluster1" / "identity.json").read_text())
    assert kept["incarnation"] == json.loads(identity)["incarnation"]
    assert "everyone" not in node.log_text(), "what we make is for its owner only"
    done = node.run("drain", "--id", "1")
    assert done.returncode == 0, done.stderr


def test_a_founder_with_an_empty_volume_founds_no_second_cluster(new_node, tmp_path):
    nodes = "1=127.0.0.1:19201,2=127.0.0.1:19202"
    node = new_node(extra_environment={"ERLMCP_CLUSTER_NODES": nodes})
    node.start("--init")
    assert node.process.wait(20) == 1
    line = node.log_text().splitlines()[-1]
    assert str(tmp_path / "data" / "cluster.secret") in line and "ERLMCP_CLUSTER_SECRET_FILE" in line, line
    assert not (tmp_path / "data").exists()


@pytest.fixture
def secrets(tmp_path):
    """A directory as a container runtime mounts secrets: read-only, its files readable for all."""
    mount = tmp_path / "secrets"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mount)], capture_output=True).returncode != 0:
        pytest.skip("mounting needs root")
    for name in ("cluster", "token"):
        (mount / name).write_text(f"a {name} secret that a secret store has made")
        (mount / name).chmod(0o444)
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)])


def test_mounted_secrets_are_used_with_a_warning_each(new_node, secrets):
    files = {"ERLMCP_CLUSTER_SECRET_FILE": str(secrets / "cluster"), "ERLMCP_ADMIN_TOKEN_FILE": str(secrets / "token")}
    node = new_node(extra_environment=files)
    node.start("--init").wait_ready()
    for path in files.values():
        warnings = [line for line in node.log_text().splitlines() if "everyone" in line and path in line]
        assert len(warnings) == 1, node.log_text()
    done = node.run("drain", "--id", "1")
    assert done.returncode == 0 and "everyone on this machine can read" in done.stderr, done.stderr
