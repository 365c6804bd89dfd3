"""Who is ready while the group cannot decide anything, and after it can again."""

import time

from node import request, wait_for

LEASE_S = 3.0


def test_without_a_majority_nobody_is_ready_and_with_it_all_are(new_cluster):
    cluster = new_cluster(extra_environment={"ERLMCP_QUOTA_LEASE_MS": str(int(LEASE_S * 1000))})
    cluster.script("start")
    leader = wait_for("a leader", cluster.leader)
    voters = [member["id"] for member in cluster.status(leader)["members"] if member["role"] == "voter"]
    (learner,) = set(cluster.ids()) - set(voters)

    def readiness(node):
        status, _, body = request(f"{cluster.url(node)}/readyz")
        return status, body.decode()

    cluster.pause(*[node for node in voters if node != leader])
    began = time.monotonic()
    said = {}
    for node in (leader, learner):

        def not_ready(node=node):
            said[node] = readiness(node)
            return "no majority has answered the leader for" in said[node][1]

        wait_for(f"node {node} not ready", not_ready, seconds=LEASE_S / 2 + 2 - (time.monotonic() - began))
    took = time.monotonic() - began
    assert took > LEASE_S / 2 - 0.5, "a short silence is no reason"
    for node in (leader, learner):
        status, body = readiness(node)
        assert status == 503 and "was not renewed for half of its lease" in body, body
    for node in (leader, learner):
        assert cluster.status(node)["cluster"]["health"] == "no quorum"

    cluster.resume()
    began = time.monotonic()
    for node in cluster.ids():
        wait_for(f"node {node} ready", lambda node=node: readiness(node)[0] == 200, seconds=10)
    print(f"\nnot ready {took:.2f} s after the majority was gone, all ready {time.monotonic() - began:.2f} s after it was back")
