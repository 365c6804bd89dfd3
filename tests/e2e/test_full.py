"""A node whose connections are all taken: the operator and the probes still reach it."""

import http.client
import json
import socket
import time

from node import call_tool, request, wait_for

CONNECTIONS = 3


def best_of(times, work):
    """The quickest of some runs: the machine may be busy with something else."""
    took = []
    for _ in range(times):
        start = time.monotonic()
        work()
        took.append(time.monotonic() - start)
    return min(took)


def test_a_full_node_answers_probes_and_orders_and_refuses_clients(new_node):
    node = new_node(extra_environment={"ERLMCP_HTTP_CONNECTIONS_MAX": str(CONNECTIONS)})
    node.init()
    node.start().wait_ready()
    port = node.base
    idle = [http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(CONNECTIONS)]
    for connection in idle:
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b"ok\n"
    status, headers, body = request(f"{node.url}/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert status == 503 and headers["Connection"] == "close" and headers["Retry-After"], (status, headers, body)
    assert json.loads(body)["error"]["code"] == 50301

    def probe(path):
        status, headers, body = request(f"{node.url}{path}")
        assert status == 200 and headers["Connection"] == "close", (path, status, headers, body)
        return body

    token = (node.directory / "data" / "cluster1" / "admin.token").read_text().strip()
    order = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}

    def drain(draining):
        status, _, body = request(f"{node.url}/cluster/drain", {"node": 1, "draining": draining}, order)
        assert status == 200, body

    took = {path: best_of(5, lambda path=path: probe(path)) for path in ("/livez", "/readyz", "/cluster/status")}
    took["drain"] = best_of(5, lambda: drain(False))
    assert json.loads(probe("/cluster/status"))["connections"]["here"] == CONNECTIONS
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    took["/livez among silent ones"] = best_of(5, lambda: probe("/livez"))
    print("\na full node: " + ", ".join(f"{what} {seconds * 1000:.1f} ms" for what, seconds in took.items()))
    assert max(took.values()) < 0.1, took
    done = node.run("drain", "--id", "1")
    assert done.returncode == 0, done.stderr
    assert node.run("undrain", "--id", "1").returncode == 0
    for connection in [*silent, *idle]:
        connection.close()
    wait_for("free slots", lambda: json.loads(request(f"{node.url}/cluster/status")[2])["connections"]["here"] < CONNECTIONS)
    assert "again" in json.dumps(call_tool(node.url, "echo", {"text": "again"}))
    assert node.stop() == 0
