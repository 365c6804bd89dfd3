"""A node whose program file was replaced while it runs, as an upgrade in place does: it still starts children."""

import shutil
import subprocess
import sys

import node as nodes
from node import BINARY, ROOT, call_tool


def test_a_node_whose_program_was_replaced_starts_children(new_node, tmp_path, monkeypatch):
    program = tmp_path / "erlmcp-node"
    shutil.copy(BINARY, program)
    monkeypatch.setattr(nodes, "BINARY", program)
    stdio = ROOT / "tests" / "upstream" / "fake_stdio.py"
    config = tmp_path / "cluster.toml"
    config.write_text(f'[[upstream]]\nname = "up"\ncommand = "{sys.executable}"\nargs = ["{stdio}"]\nidle_s = 1\n')
    node = new_node(config=config)
    node.init()
    node.start().wait_ready()
    first = call_tool(node.url, "pids", {})["pid"]
    other = tmp_path / "other"
    shutil.copy("/bin/false", other)
    other.rename(program)
    subprocess.run(["kill", "-9", str(first)], check=True)

    def another():
        return call_tool(node.url, "pids", {})["pid"] != first

    nodes.wait_for("another child", lambda: works(another))
    assert node.stop() == 0


def works(claim):
    try:
        return claim()
    except AssertionError:
        return False
