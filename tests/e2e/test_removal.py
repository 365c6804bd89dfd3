"""Removing a node while others are silent: it is done, or refused with the way out, and writes go on."""

import time

from node import wait_for

LINES_MAX = 20


def members(cluster, node):
    return {member["id"]: member for member in cluster.status(node)["members"]}


def voters(cluster, node):
    return sorted(id for id, member in members(cluster, node).items() if member["role"] == "voter")


def silent(cluster, leader, nodes):
    return all(members(cluster, leader)[node]["healthy"] is False for node in nodes)


def test_six_nodes_two_voters_silent_a_third_node_is_removed(new_cluster):
    cluster = new_cluster(nodes=6)
    cluster.script("start")
    leader = wait_for("a leader", cluster.leader)
    voting = wait_for("five voters", lambda: len(voters(cluster, leader)) == 5 and voters(cluster, leader))
    (learner,) = set(cluster.ids()) - set(voting)
    quiet = [node for node in voting if node != leader][:2]
    cluster.pause(*quiet)
    wait_for("both seen to be silent", lambda: silent(cluster, leader, quiet))
    lines = len(cluster.log_text(leader).splitlines())
    began = time.monotonic()
    done = cluster.cli("remove", "--id", str(learner), "--dead", "--url", cluster.url(leader))
    assert done.returncode == 0, done.stderr
    took = time.monotonic() - began
    living = sorted(set(voting) - set(quiet))
    assert voters(cluster, leader) == living
    target = next(node for node in living if node != leader)
    for verb in ("drain", "undrain"):
        done = cluster.cli(verb, "--id", str(target), "--url", cluster.url(leader))
        assert done.returncode == 0, f"{verb}: {done.stderr}"

    # Without a majority nothing can be removed, and that is said at once, by the leader and through others.
    others = [node for node in living if node != leader]
    cluster.pause(*others)
    wait_for("a majority is silent", lambda: silent(cluster, leader, others))
    began = time.monotonic()
    done = cluster.cli("remove", "--id", str(quiet[0]), "--dead", "--url", cluster.url(leader))
    refused = time.monotonic() - began
    assert done.returncode == 1 and "do not answer" in done.stderr, done
    assert "start or reconnect 1 of them" in done.stderr, done.stderr
    said = cluster.log_text(leader).splitlines()[lines:]
    print(f"\nremoved after {took:.2f} s, refused after {refused:.2f} s, {len(said)} lines in the leader's log")
    assert refused < 5.0 and len(said) < LINES_MAX, "\n".join(said)

    cluster.resume()
    wait_for("a leader again", lambda: cluster.leader(among=living))
    done = cluster.cli("remove", "--id", str(quiet[0]), "--dead")
    assert done.returncode == 0, done.stderr
