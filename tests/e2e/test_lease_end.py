"""The end of a node's share: a call that runs is answered with what to do, then its connection is closed; the node heals by itself."""

import json
import sys
import threading
import time
from pathlib import Path

from node import MODERN_META, call_tool, request, wait_for

FAKE = Path(__file__).parents[1] / "upstream" / "fake_stdio.py"
LEASE_S = 3.0
HANG = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "tools/call",
    "params": {"name": "hang", "arguments": {}, "_meta": MODERN_META},
}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "hang",
}


def running(cluster):
    return cluster.status(1)["serving"]["calls"]


def test_a_call_that_runs_when_the_share_ends_is_told_so_before_its_connection_is_closed(new_cluster, tmp_path):
    config = tmp_path / "cluster.toml"
    config.write_text(f'[[upstream]]\nname = "up"\ncommand = "{sys.executable}"\nargs = {json.dumps([str(FAKE)])}\n')
    lease = {"ERLMCP_QUOTA_LEASE_MS": str(int(LEASE_S * 1000))}
    cluster = new_cluster(nodes=3, config=config, extra_environment=lease)
    cluster.script("start")
    wait_for("the upstream", lambda: call_tool(cluster.url(1), "echo", {"text": "x"}))
    answers = []
    calling = threading.Thread(target=lambda: answers.append(request(f"{cluster.url(1)}/mcp", HANG, HEADERS, timeout=30)))
    calling.start()
    wait_for("the call runs", lambda: running(cluster) == 1)

    # Of three nodes one is no majority: no renewal any more.
    for node in (2, 3):
        cluster.kill(node)
    killed = time.monotonic()
    calling.join(15)
    took = time.monotonic() - killed
    assert answers, "no answer at all"
    status, headers, body = answers[0]
    fault = json.loads(body)
    print(f"\nanswered {took:.1f} s after the majority was lost: {status} {body.decode()}")
    assert (status, fault["id"], fault["error"]["code"]) == (503, 7, 50307), fault
    assert "its outcome is unknown" in fault["error"]["message"] and fault["error"]["data"]["retryAfterMs"] > 0, fault
    assert int(headers["Retry-After"]) >= 1 and took < LEASE_S + 1

    closed = lambda: "its connections are closed" in cluster.log_text(1)
    wait_for("the connections are closed", closed, 3)
    assert request(f"{cluster.url(1)}/readyz")[0] == 503
    cluster.script("start")
    wait_for("the node heals", lambda: request(f"{cluster.url(1)}/readyz")[0] == 200, 15)
    assert call_tool(cluster.url(1), "echo", {"text": "again"})
