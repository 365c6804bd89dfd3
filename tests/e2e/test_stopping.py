"""SIGTERM: readiness goes at once, then clients, then upstreams; probes are answered until the process ends."""

import json
import signal
import sys
import threading
import time
from pathlib import Path

from node import call_tool, request, wait_for

FAKE = Path(__file__).parents[1] / "upstream" / "fake_stdio.py"
NOTICE_S = 1.0
EVERY_S = 0.02
# From the last probe that failed to the end of the process.
UNANSWERED_S_MAX = 0.2


class Prober(threading.Thread):
    """Asks the paths again and again until nobody has answered for a second."""

    def __init__(self, url, paths):
        super().__init__(daemon=True)
        self.url, self.paths = url, paths
        self.answers, self.failures = [], []

    def run(self):
        last = time.monotonic()
        while time.monotonic() - last < 1:
            for path in self.paths:
                begun = time.monotonic()
                try:
                    status = request(f"{self.url}{path}", timeout=2)[0]
                    last = time.monotonic()
                    self.answers.append((begun, path, status, last - begun))
                except OSError as error:
                    self.failures.append((begun, path, repr(error)))
            time.sleep(EVERY_S)


def config_of_nine_upstreams(tmp_path):
    config = tmp_path / "cluster.toml"
    parts = []
    for n in range(1, 10):
        # Every third must be killed, which takes its steps.
        args = [str(FAKE)] + (["--stay"] if n % 3 == 0 else [])
        parts.append(f'[[upstream]]\nname = "up{n}"\ncommand = "{sys.executable}"\nargs = {json.dumps(args)}\n')
    config.write_text("\n".join(parts))
    return config


def test_probes_are_answered_until_the_process_ends(new_node, tmp_path):
    notice = {"ERLMCP_DRAIN_NOTICE_MS": str(int(NOTICE_S * 1000))}
    node = new_node(config=config_of_nine_upstreams(tmp_path), extra_environment=notice)
    node.init()
    node.start().wait_ready()

    def all_run():
        upstreams = json.loads(request(f"{node.url}/cluster/status")[2])["upstreams"]
        return len(upstreams) == 9 and all(one["state"] == "ready" for one in upstreams)

    wait_for("nine upstreams", all_run)
    prober = Prober(node.url, ["/livez", "/readyz", "/readyz?drain=404", "/cluster/status"])
    prober.start()
    wait_for("the prober at work", lambda: len(prober.answers) > 8)
    ended = []
    waiter = threading.Thread(target=lambda: (node.process.wait(), ended.append(time.monotonic())))
    waiter.start()
    node.process.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    wait_for("unready", lambda: request(f"{node.url}/readyz")[0] == 503, every=0.001)
    unready = time.monotonic() - stopped
    served = 0
    while time.monotonic() - stopped < NOTICE_S * 0.8:
        call_tool(node.url, "cluster_members", {}) if served % 10 == 0 else request(f"{node.url}/livez")
        served += 1
    refused = wait_for("refused", lambda: (answer := request(f"{node.url}/mcp", {}))[0] == 503 and answer)
    refused_after = time.monotonic() - stopped
    assert refused[1]["Retry-After"] and refused[1]["Connection"] == "close", refused
    assert json.loads(refused[2])["error"]["code"] == 50304, refused
    waiter.join(30)
    prober.join(5)
    assert ended and node.process.returncode == 0, node.log_text()
    took = ended[0] - stopped
    early = [failure for failure in prober.failures if failure[0] < ended[0] - UNANSWERED_S_MAX]
    assert not early, (took, [(f[0] - stopped, *f[1:]) for f in early])
    last = max(begun for begun, *_ in prober.answers)
    slowest = max(seconds for *_, seconds in prober.answers)
    print(f"\nSIGTERM: unready after {unready * 1000:.0f} ms, clients refused after {refused_after:.2f} s, ended after "
          f"{took:.2f} s; last answered probe {(ended[0] - last) * 1000:.0f} ms before, slowest {slowest * 1000:.0f} ms, "
          f"{len(prober.answers)} answered")
    assert refused_after >= NOTICE_S * 0.8
    after = {path: {status for begun, own, status, _ in prober.answers if own == path and begun > stopped + unready}
             for path in prober.paths}
    assert after == {"/livez": {200}, "/readyz": {503}, "/readyz?drain=404": {404}, "/cluster/status": {200}}, after


def test_a_second_signal_stops_at_once(new_node):
    node = new_node(extra_environment={"ERLMCP_DRAIN_NOTICE_MS": "60000"})
    node.init()
    node.start().wait_ready()
    node.process.send_signal(signal.SIGTERM)
    wait_for("unready", lambda: b"stopping" in request(f"{node.url}/readyz")[2])
    start = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(10) == 0
    assert time.monotonic() - start < 5


def initialize(node):
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    return request(f"{node.url}/mcp", body, {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"})


def test_a_drained_node_refuses_new_clients_until_it_is_undrained(new_node):
    node = new_node()
    node.init()
    node.start().wait_ready()
    assert request(f"{node.url}/readyz?drain=404")[0] == 200
    session = initialize(node)[1]["Mcp-Session-Id"]
    said = node.run("drain", "--id", "1")
    assert said.returncode == 0 and "status --id 1" in said.stdout, said
    wait_for("drained", lambda: request(f"{node.url}/readyz")[0] == 503)
    assert [request(f"{node.url}{path}")[0] for path in ("/readyz?drain=404", "/health?x=1&drain=404")] == [404, 404]
    assert request(f"{node.url}/readyz?drain=40")[0] == 503
    wait_for("refused", lambda: initialize(node)[0] == 503)
    refused = initialize(node)
    assert json.loads(refused[2])["error"]["code"] == 50305 and refused[1]["Retry-After"], refused
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Session-Id": session}
    assert request(f"{node.url}/mcp", {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, headers)[0] == 200
    assert "1 session, 0 running calls here" in node.run("status", "--id", "1").stdout
    assert request(f"{node.url}/mcp", None, headers, method="DELETE")[0] == 204
    assert "0 sessions, 0 running calls here" in node.run("status", "--id", "1").stdout
    # It stays drained when it comes back.
    node.stop()
    node.start()
    wait_for("back", lambda: json.loads(request(f"{node.url}/cluster/status")[2])["leader"] == 1)
    assert initialize(node)[0] == 503
    assert node.run("undrain", "--id", "1").returncode == 0
    wait_for("in service", lambda: initialize(node)[0] == 200)
    assert request(f"{node.url}/readyz?drain=404")[0] == 200
    assert "draining: new clients are refused" in node.log_text() and "back in service" in node.log_text()
