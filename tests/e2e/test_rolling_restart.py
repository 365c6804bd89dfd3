"""A rolling restart of four nodes while clients call through a balancer that looks at /readyz: no call fails."""

import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from node import MODERN_META, call_tool, is_zombie, request, wait_for

FAKE = Path(__file__).parents[1] / "upstream" / "fake_stdio.py"
# How often the balancer looks, and how long a stopping node gives it; two looks must fit.
LOOK_S = 0.1
NOTICE_MS = 500
# Shorter than the drain (drain.timeout_ms, 10 s): these calls may be cut by nobody.
LONG_CALL_S = 0.7
QUICK, LONG = 6, 3
# Clients come anew now and then, so that a node that is back gets some.
CALLS_A_CONNECTION = 20


class Balancer(threading.Thread):
    """Passes each TCP connection on to the next node whose last /readyz was 200."""

    def __init__(self, ports):
        super().__init__(daemon=True)
        self.ports, self.ready, self.turn = ports, set(), 0
        self.stopped = threading.Event()
        self.taken = {port: 0 for port in ports}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        for port in ports:
            threading.Thread(target=self.look, args=(port,), daemon=True).start()

    def look(self, port):
        while not self.stopped.is_set():
            try:
                is_ready = request(f"http://127.0.0.1:{port}/readyz", timeout=2)[0] == 200
            except OSError:
                is_ready = False
            (self.ready.add if is_ready else self.ready.discard)(port)
            self.stopped.wait(LOOK_S)

    def run(self):
        while True:
            client, _ = self.listener.accept()
            ready = sorted(self.ready)
            if not ready:
                client.close()
                continue
            self.turn += 1
            port = ready[self.turn % len(ready)]
            self.taken[port] += 1
            try:
                node = socket.create_connection(("127.0.0.1", port), timeout=5)
            except OSError:
                client.close()
                continue
            for end in (client, node):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for pair in ((client, node), (node, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            end.close()


class Caller(threading.Thread):
    """Calls again and again over a connection that it keeps until it is asked to close it."""

    def __init__(self, port, tool, arguments):
        super().__init__(daemon=True)
        self.port, self.tool, self.arguments = port, tool, arguments
        self.stopped = threading.Event()
        self.answered, self.failed, self.connections = 0, [], 0

    def run(self):
        params = {"name": self.tool, "arguments": self.arguments, "_meta": MODERN_META}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
                   "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": self.tool}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stopped.is_set():
            begun = time.monotonic()
            try:
                self.connections += connection.sock is None
                connection.request("POST", "/mcp", body, headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 200 and "result" in json.loads(text):
                    self.answered += 1
                else:
                    self.failed.append((begun, answer.status, text))
            except (OSError, http.client.HTTPException) as error:
                self.failed.append((begun, type(error).__name__, str(error)))
                connection.close()
            if (self.answered + len(self.failed)) % CALLS_A_CONNECTION == 0:
                connection.close()
            time.sleep(0.005)


def test_a_rolling_restart_fails_no_call(new_cluster, tmp_path):
    config = tmp_path / "cluster.toml"
    # Slower to start than a node: one that is ready without it would fail the long calls.
    script = f"sleep 1; exec {sys.executable} {FAKE}"
    config.write_text(f'[[upstream]]\nname = "slow"\ncommand = "/bin/sh"\nargs = ["-c", "{script}"]\n')
    cluster = new_cluster(config=config, extra_environment={"ERLMCP_DRAIN_NOTICE_MS": str(NOTICE_MS)})
    cluster.script("start")
    balancer = Balancer([cluster.base + node - 1 for node in cluster.ids()])
    balancer.start()
    wait_for("the balancer has seen all", lambda: len(balancer.ready) == cluster.nodes)
    quick = [Caller(balancer.port, "cluster_members", {}) for _ in range(QUICK)]
    long = [Caller(balancer.port, "late", {"s": LONG_CALL_S}) for _ in range(LONG)]
    for caller in quick + long:
        caller.start()
    wait_for("all are answered", lambda: all(caller.answered for caller in quick + long))
    for node in cluster.ids():
        pid = cluster.pid(node)
        os.kill(pid, signal.SIGTERM)
        wait_for(f"node {node} ended", lambda pid=pid: not Path(f"/proc/{pid}").exists() or is_zombie(pid))
        cluster.script("start")
        port = cluster.base + node - 1
        before = balancer.taken[port]
        wait_for(f"clients at node {node} again", lambda: balancer.taken[port] > before)
    for caller in quick + long:
        caller.stopped.set()
    for caller in quick + long:
        caller.join(30)
    balancer.stopped.set()
    failed = [failure for caller in quick + long for failure in caller.failed]
    print(f"\nrolling restart: {sum(c.answered for c in quick)} quick and {sum(c.answered for c in long)} calls of "
          f"{LONG_CALL_S} s answered, {len(failed)} failed, {sum(c.connections for c in quick + long)} connections")
    assert not failed, failed[:5]


def upstream(name, script):
    return f'[[upstream]]\nname = "{name}"\ncommand = "/bin/sh"\nargs = ["-c", "{script}"]\n'


def first_ready(node):
    """Seconds until the node was ready, and what it said before."""
    begun, said = time.monotonic(), set()

    def ready():
        status, _, text = request(f"{node.url}/readyz")
        said.add(text.decode().strip())
        return status == 200

    wait_for("ready", ready, every=0.005)
    return time.monotonic() - begun, said


def test_a_node_is_ready_once_its_upstreams_were_tried(new_node, tmp_path):
    config = tmp_path / "cluster.toml"
    config.write_text(upstream("slow", f"sleep 1; exec {sys.executable} {FAKE}") + upstream("broken", "exit 3"))
    node = new_node(config=config)
    node.init()
    took, said = first_ready(node.start())
    assert any("waits for the first start of upstream slow" in text for text in said), said
    assert 0.5 < took < 5, took
    assert call_tool(node.url, "late", {"s": 0}), "it is ready without what it serves"


def test_an_upstream_that_never_answers_holds_a_node_up_for_a_bounded_time(new_node, tmp_path):
    config = tmp_path / "cluster.toml"
    config.write_text("[gateway]\nstart_wait_ms = 700\n" + upstream("mute", "sleep 1000"))
    node = new_node(config=config)
    node.init()
    took, said = first_ready(node.start())
    assert any("upstream mute" in text for text in said), said
    assert took < 5, took
