"""The connection limit by command: shown, set, refused with the value and its range, and nobody sets it without the token."""

import json

from node import request, wait_for

OLD = {"connections": 100_000, "messages_per_second": 150_000, "burst": 150_000}


def show(cluster, node):
    done = cluster.cli("quota", "show", "--json", "--id", str(node))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def put(cluster, *words):
    return cluster.cli("quota", "set", *words)


def test_the_limit_is_shown_and_set_through_any_node(new_cluster, tmp_path):
    cluster = new_cluster(nodes=2)
    cluster.script("start")
    first = show(cluster, 2)
    assert first == first | OLD | {"lease_ms": 30_000, "is_over": False} and first["granted"] + first["free"] == 100_000
    assert [(node["node"], node["state"]) for node in first["nodes"]] == [(1, "live"), (2, "live")]
    assert first["granted"] == sum(node["granted"] for node in first["nodes"]) > 0, first

    # The answer is read from the ledger that has it, so the node that took the order shows it at once.
    for node, limit in ((1, 50_000), (2, 40_000)):
        done = put(cluster, "--connections", str(limit), "--url", cluster.url(node))
        assert done.returncode == 0 and f"limit {limit} (was " in done.stdout, done
        assert show(cluster, node)["connections"] == limit
    done = put(cluster, "--connections", "7", "--lease-ms", "never", "--json", "--url", cluster.url(2))
    change = json.loads(done.stdout)
    assert (change["connections_before"], change["connections"]) == (40_000, 7)
    assert (change["lease_ms_before"], change["lease_ms"]) == (30_000, "never")
    assert show(cluster, 2)["lease_ms"] == "never" and cluster.status(2)["quota"] == OLD | {"connections": 7}
    page = cluster.cli("quota", "show", "--id", "2").stdout
    assert page.startswith("limit 7: ") and "lease never" in page.splitlines()[0] and "WAITS BECAUSE" in page, page

    shares = show(cluster, 2)["nodes"]
    assert all(0 <= share["renewed_ago_ms"] < 10_000 for share in shares), shares
    leases = [(share["lease_ms"], share["expires_in_ms"]) for share in shares]
    assert all(ends is None if lease == "never" else 0 < ends <= 31_200 for lease, ends in leases), shares
    cluster.kill(1)
    cluster.script("start")
    wait_for("node 1 to have read the ledger", lambda: "the configuration says" in cluster.log_text(1))
    line = "connections.global: the configuration says 100000, the ledger 7; quota.lease_ms: the configuration says 30000, the ledger never"
    assert line in cluster.log_text(1)

    refused = (
        (("--connections", "0"), "connections must be between 1 and 1000000000; 0 is not"),
        (("--connections", "5000000000"), "connections must be between 1 and 1000000000; 5000000000 is not"),
        (("--connections", "9", "--lease-ms", "2999"), "between 3000 and 3600000, or never; 2999 ms is not"),
    )
    for words, why in refused:
        done = put(cluster, *words, "--url", cluster.url(2))
        assert done.returncode == 1 and why in done.stderr, done
    assert show(cluster, 2)["connections"] == 7, "nothing of a refused order is done"

    (tmp_path / "wrong").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "wrong").chmod(0o600)
    done = put(cluster, "--connections", "8", "--token-file", str(tmp_path / "wrong"))
    assert done.returncode == 1 and "says 401" in done.stderr, done
    status, _, _ = request(f"{cluster.url(1)}/cluster/quota", {"connections": 8})
    assert status == 401 and show(cluster, 2)["connections"] == 7
