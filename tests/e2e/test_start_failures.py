"""What a node says when it cannot start: exit code and one clear line each."""

import os
import shutil
import socket
import subprocess

import pytest
from node import free_port_base, request, wait_for


def last_line(node):
    """Starts a node that must not start; returns its exit code and its last line."""
    node.start()
    code = node.process.wait(20)
    lines = [line for line in node.log_text().splitlines() if line.strip()]
    assert lines, "it said nothing"
    return code, lines[-1]


def test_a_bad_value_names_file_key_value_and_range(new_node, tmp_path):
    config = tmp_path / "cluster.toml"
    config.write_text("[connections]\nper_node = 0\n")
    node = new_node(config=config)
    done = node.run("config", "check")
    assert done.returncode == 1
    for word in ("cluster.toml", "connections.per_node", "0", "between"):
        assert word in done.stderr, done.stderr
    code, line = last_line(node)
    assert code != 0 and "connections.per_node" in line


def test_an_unknown_key_is_refused_by_name(new_node, tmp_path):
    config = tmp_path / "cluster.toml"
    config.write_text("[connections]\nper_nod = 5\n")
    code, line = last_line(new_node(config=config))
    assert code != 0 and "per_nod" in line and "per_node" in line


def test_a_port_in_use_is_named(new_node):
    node = new_node()
    node.init()
    with socket.socket() as taken:
        # A node of another test may have had this port: its closed connections must not keep us from it.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", node.base))
        taken.listen()
        code, line = last_line(node)
    assert code != 0 and str(node.base) in line and "in use" in line.lower(), line


def test_a_node_that_was_never_initialised_says_how(new_node):
    code, line = last_line(new_node())
    assert code != 0 and "init --id 1" in line, line


def test_a_copied_directory_is_not_taken_for_another_node(new_node, tmp_path):
    node = new_node()
    node.init()
    shutil.copytree(tmp_path / "data" / "cluster1", tmp_path / "data" / "cluster5")
    node.node = 5
    code, line = last_line(node)
    assert code == 1 and "belongs to node 1, not to node 5" in line, line


def test_a_lead_that_nobody_can_take_is_the_askers_mistake(new_node):
    node = new_node()
    node.init()
    node.start().wait_ready()
    done = node.run("transfer-leader", "--to", "9")
    assert done.returncode == 1 and "says 409: node 9 does not vote" in done.stderr, done.stderr


def test_a_second_process_on_the_same_directory_is_refused(new_node, tmp_path):
    first = new_node()
    first.init()
    first.start().wait_ready()
    second = new_node(base=free_port_base())
    second.start()
    code = second.process.wait(20)
    line = second.log_text().splitlines()[-1]
    assert code != 0 and "in use by process" in line, line
    assert str(first.process.pid) in line, line
    assert request(f"{first.url}/readyz")[0] == 200


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere; the mounted form below covers root")
def test_a_read_only_directory_is_named(new_node, tmp_path):
    node = new_node()
    node.init()
    os.chmod(tmp_path / "data", 0o500)
    code, line = last_line(node)
    os.chmod(tmp_path / "data", 0o700)
    assert code != 0 and "data" in line


def mounted(directory, options):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], capture_output=True)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if mounted(disk, "size=160m").returncode != 0:
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)])


def fill(disk):
    """Leaves not a byte."""
    with open(disk / "filler", "wb") as filler:
        try:
            while True:
                filler.write(b"x" * 65536)
                filler.flush()
        except OSError:
            pass


def test_a_read_only_file_system_is_named(new_node, small_disk):
    node = new_node(directory=small_disk)
    node.init()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    node.directory = small_disk.parent
    node.extra_environment["ERLMCP_DATA_DIR"] = str(small_disk / "data")
    code, line = last_line(node)
    assert code != 0 and "ead-only" in line, line


def test_a_full_disk_is_said_at_start_with_figures(new_node, small_disk):
    node = new_node(directory=small_disk)
    node.init()
    fill(small_disk)
    node.directory = small_disk.parent
    node.extra_environment["ERLMCP_DATA_DIR"] = str(small_disk / "data")
    code, line = last_line(node)
    assert code != 0 and "free" in line and "need" in line, line


def test_another_clusters_secret_does_not_join(new_node, tmp_path):
    founder = new_node(directory=tmp_path)
    founder.init()
    founder.start().wait_ready()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    secret = elsewhere / "wrong.secret"
    secret.write_text("0" * 64)
    secret.chmod(0o600)
    base = free_port_base()
    joiner = new_node(
        directory=elsewhere, node=2, base=base, extra_environment={"ERLMCP_CLUSTER_SECRET_FILE": str(secret)}
    )
    joiner.init("--join", f"127.0.0.1:{founder.base + 1121}")
    joiner.start()
    code = joiner.process.wait(30)
    line = joiner.log_text().splitlines()[-1]
    assert code != 0 and "secret" in line, line


def test_another_id_does_not_take_the_directory(new_node, tmp_path):
    node = new_node()
    node.init()
    moved = tmp_path / "data" / "cluster2"
    (tmp_path / "data" / "cluster1").rename(moved)
    other = new_node(node=2, base=node.base)
    done = other.run("init", "--id", "2")
    assert done.returncode == 1 and "1" in done.stderr, done.stderr


def test_a_disk_that_fills_while_a_node_runs_is_said_in_its_log(new_node, small_disk):
    node = new_node(directory=small_disk)
    node.init()
    node.start().wait_ready()
    fill(small_disk)
    try:
        node.run("drain", "--id", "1")
        status, _, body = request(f"{node.url}/readyz")
        assert status == 503 and b"disk full" in body, body
        os.truncate(small_disk / "filler", 0)
        wait_for("the word in the log", lambda: "the disk is full" in node.log_text(), 5)
        wait_for("ready when there is room", lambda: "disk full" not in request(f"{node.url}/readyz")[2].decode())
    finally:
        node.process.kill()
        node.process.wait()
        node.log.close()
