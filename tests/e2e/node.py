"""Nodes and clusters as a user starts them: real processes, the shipped script, free ports, own directories.

Nothing here sleeps for a fixed time to let something happen: `wait_for` polls a claim until it holds or its time is up.
"""

import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("ERLMCP_BIN", ROOT / "target" / "debug" / "erlmcp-node")).resolve()
SCRIPT = ROOT / "scripts" / "start-cluster.sh"
# Nobody here has to look elsewhere before a node stops.
NO_BALANCER = {"ERLMCP_DRAIN_NOTICE_MS": "0"}


def wait_for(what, claim, seconds=20.0, every=0.02):
    """Returns what `claim` returns once it is truthy; an exception of its own counts as "not yet"."""
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        try:
            last = claim()
            if last:
                return last
        except (OSError, ValueError, KeyError, urllib.error.URLError) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"{what}: not within {seconds} s; last seen: {last!r}")


def free_port_base(nodes=6):
    """A base B so that HTTP (B..), TCP (B+1021..) and peers (B+1121..) of `nodes` nodes are free."""
    for _ in range(200):
        base = random.randrange(10_000, 30_000, 16)
        ports = [base + offset + n for offset in (0, 1021, 1121) for n in range(nodes)]
        if all(is_free(port) for port in ports):
            return base
    raise AssertionError("no free ports")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def request(url, body=None, headers=None, method=None, timeout=10):
    """(status, headers, body) of one HTTP exchange, error statuses included."""
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    call = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(call, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call_tool(base_url, name, arguments, timeout=10):
    """One modern tools/call; returns its `result`."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments, "_meta": MODERN_META},
    }
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": name,
    }
    status, _, text = request(f"{base_url}/mcp", body, headers, timeout=timeout)
    answer = json.loads(text)
    assert status == 200 and "result" in answer, f"{status}: {text!r}"
    return answer["result"]


class Node:
    """One node, started by hand."""

    def __init__(self, directory, node=1, base=None, config=None, extra_environment=None):
        self.directory = Path(directory)
        self.node = node
        self.base = base or free_port_base()
        self.config = config
        self.extra_environment = extra_environment or {}
        self.process = None
        self.url = f"http://localhost:{self.base + node - 1}"

    def environment(self):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ERLMCP_")}
        own = {
            "ERLMCP_PORT_BASE": str(self.base),
            "ERLMCP_DATA_DIR": str(self.directory / "data"),
            **NO_BALANCER,
        }
        return clean | own | self.extra_environment

    def command(self, *words):
        config = ["--config", str(self.config)] if self.config else []
        return [str(BINARY), *words, *config]

    def run(self, *words, timeout=30):
        return subprocess.run(
            self.command(*words), env=self.environment(), cwd=self.directory, capture_output=True, text=True, timeout=timeout
        )

    def init(self, *words):
        done = self.run("init", "--id", str(self.node), *words)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done

    def start(self, *words):
        self.log = open(self.directory / f"node{self.node}.log", "ab")
        self.process = subprocess.Popen(
            self.command("start", "--id", str(self.node), *words),
            env=self.environment(),
            cwd=self.directory,
            stdout=self.log,
            stderr=self.log,
        )
        return self

    def wait_ready(self, seconds=20.0):
        def ready():
            assert self.process.poll() is None, f"the node ended: {self.log_text()}"
            return request(f"{self.url}/readyz")[0] == 200

        wait_for(f"node {self.node} ready", ready, seconds, every=0.005)
        return self

    def log_text(self):
        return (self.directory / f"node{self.node}.log").read_text(errors="replace")

    def stop(self, seconds=20):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"did not stop within {seconds} s: {self.log_text()}") from None
        return self.process.returncode if self.process else None


class Cluster:
    """Nodes started by scripts/start-cluster.sh."""

    def __init__(self, directory, nodes=4, config=None, extra_environment=None):
        self.directory = Path(directory)
        self.nodes = nodes
        self.base = free_port_base(nodes)
        self.config = config
        self.paused = []
        self.extra_environment = extra_environment or {}

    def environment(self):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ERLMCP_")}
        own = {
            "ERLMCP_BIN": str(BINARY),
            "ERLMCP_NODES": str(self.nodes),
            "ERLMCP_PORT_BASE": str(self.base),
            "ERLMCP_DATA_DIR": str(self.directory / "data"),
            "ERLMCP_LOG_DIR": str(self.directory / "logs"),
            **NO_BALANCER,
        }
        if self.config:
            own["ERLMCP_CONFIG"] = str(self.config)
        return clean | own | self.extra_environment

    def script(self, verb, timeout=90):
        done = subprocess.run(
            [str(SCRIPT), verb], env=self.environment(), cwd=self.directory, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, f"{verb}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ids(self):
        return range(1, self.nodes + 1)

    def url(self, node):
        return f"http://localhost:{self.base + node - 1}"

    def status(self, node, timeout=2):
        return json.loads(request(f"{self.url(node)}/cluster/status", timeout=timeout)[2])

    def pid(self, node):
        """The process that listens on the node's HTTP port, asked from outside."""
        port = self.base + node - 1
        lines = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True).stdout
        assert "pid=" in lines, f"nobody listens on {port}: {lines!r}"
        return int(lines.split("pid=")[1].split(",")[0])

    def kill(self, node):
        pid = self.pid(node)
        os.kill(pid, signal.SIGKILL)
        wait_for(f"process {pid} gone", lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid))

    def pause(self, *nodes):
        """Stops the processes as they are: their ports take connections, and nobody answers."""
        pids = [self.pid(node) for node in nodes]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            self.paused.append(pid)
        return pids

    def resume(self):
        while self.paused:
            os.kill(self.paused.pop(), signal.SIGCONT)

    def leader(self, among=None):
        """The leader on which all of `among` agree, or None."""
        views = {self.status(node)["leader"] for node in among or self.ids()}
        return views.pop() if len(views) == 1 else None

    def wait_another_leads(self, than, among, seconds):
        """The node on which all of `among` agree once it is not `than`; asked often, as callers measure the time."""

        def another():
            now = self.leader(among=among)
            return now if now not in (None, than) else None

        return wait_for(f"another leader than node {than}", another, seconds, every=0.01)

    def cli(self, *words, timeout=30):
        return subprocess.run(
            [str(BINARY), *words], env=self.environment(), cwd=self.directory, capture_output=True, text=True, timeout=timeout
        )

    def log_text(self, node):
        return (self.directory / "logs" / f"node{node}.log").read_text(errors="replace")


def is_zombie(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
