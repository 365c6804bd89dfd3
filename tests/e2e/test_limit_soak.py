"""Clients that come and go without end: what the nodes say is what the kernel shows, and the log hardly grows.

20 s by default; `ERLMCP_SOAK_S=600` is the long form, for a release binary:
`cargo build --release && ERLMCP_SOAK_S=600 ERLMCP_BIN=target/release/erlmcp-node tests/e2e/run.sh tests/e2e/test_limit_soak.py`.
"""

import json
import os
import time

from crowd import Crowd, Watch, established
from node import request, wait_for

SOAK_S = float(os.environ.get("ERLMCP_SOAK_S", "20"))
# Clients that come in a second, in all. They stay for two seconds, so twice as many are open.
COME_PER_S = int(os.environ.get("ERLMCP_SOAK_RATE", "1000"))
STAY_S = 2.0
COMMITS_PER_S_MAX = 10
RENEWED_S = 5.0


def test_shares_and_sockets_agree_after_clients_came_and_went(new_cluster):
    limit = int(COME_PER_S * STAY_S * 1.1)
    cluster = new_cluster(nodes=4, extra_environment={"ERLMCP_CONNECTIONS_GLOBAL": str(limit)})
    cluster.script("start")
    ports = {cluster.base + node - 1: node for node in cluster.ids()}
    crowd = Crowd({node: ("127.0.0.1", port) for port, node in ports.items()}, stay_s=STAY_S)
    watch = Watch(crowd, ports)
    crowd.start()
    watch.start()
    try:
        began, seen = time.monotonic(), []
        applied = cluster.status(1)["applied"]
        while (now := time.monotonic() - began) < SOAK_S:
            # The demand moves: each node in turn has most of it.
            most = int(now / 10) % 4 + 1
            part = int(COME_PER_S * STAY_S / 5)
            crowd.want(**{f"n{node}": part * 2 if node == most else part for node in cluster.ids()})
            time.sleep(1)
            seen.append(watch.now())
        took = time.monotonic() - began
        commits = (cluster.status(1)["applied"] - applied) / took
        come = crowd.arrivals / took
        print(
            f"\n{took:.0f} s: {come:.0f} came a second, {crowd.refused / took:.0f} were refused a second, {crowd.cut} cut by a node; "
            f"{min(seen[5:])} to {watch.highest()} admitted of {limit}; {commits:.1f} commits a second"
        )
        assert watch.highest() <= limit
        assert crowd.cut == 0, "a node closed a connection in use"
        assert commits < COMMITS_PER_S_MAX, commits
        crowd.stay_s = None

        def agree():
            pairs = established(ports)
            quota = json.loads(request(f"{cluster.url(1)}/cluster/quota")[2])
            said = {node["node"]: (node["in_use"], node["granted"]) for node in quota["nodes"]}
            outside = {node: sum(1 for _, at in pairs if at == node) for node in cluster.ids()}
            # The question itself is a connection of node 1, or of the operator beyond the limit.
            is_so = all(abs(said[node][0] - outside[node]) <= (node == 1) and said[node][1] >= outside[node] for node in outside)
            return (said, outside) if is_so and quota["granted"] <= limit else None

        said, outside = wait_for("ledger and kernel agree", agree, 30, every=0.5)
        print(f"in use by the ledger, of granted: {said}; established by the kernel: {outside}")
        crowd.want_all(0)
        wait_for("nothing is in use", lambda: sum(node["in_use"] for node in json.loads(request(f"{cluster.url(1)}/cluster/quota")[2])["nodes"]) <= 1, 30)
    finally:
        watch.stop()
        crowd.stop()
