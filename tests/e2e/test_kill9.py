"""Nodes killed with SIGKILL in a loop while a writer goes on: nothing acknowledged is lost, nothing is applied twice.

Ten rounds by default; `ERLMCP_KILL_ROUNDS=100` runs more, `ERLMCP_KILL_SEED` repeats a run's choices.

What is written are the drain flags of the members. Every entry of the log is a command of the writer, the first entry of a term, a change
of the membership, of which there is none here, or about shares, which a node counts: so the length of the log, as a node tells it that lived
through the round, shows a command too few or too many.
"""

import json
import os
import random
import threading
import time

from node import Node, free_port_base, request, wait_for

ROUNDS = int(os.environ.get("ERLMCP_KILL_ROUNDS", "10"))
SEED = int(os.environ.get("ERLMCP_KILL_SEED", str(random.randrange(1_000_000))))
NODES = 4
# Told of a write that did not happen, whatever else went wrong.
NOT_WRITTEN = ("nothing was written", "nothing was done")


class Writer:
    """Sets drain flags through any node, and knows which values each flag may have."""

    def __init__(self, nodes, chance):
        self.nodes, self.chance = nodes, chance
        self.possible = {node.node: {False} for node in nodes}
        self.done = self.maybe = 0
        token = (nodes[0].directory / "data" / "cluster{}" / "admin.token").as_posix()
        self.tokens = {node.node: open(token.format(node.node)).read().strip() for node in nodes}

    def write(self):
        asked, flag, value = self.chance.choice(self.nodes), self.chance.choice(self.nodes).node, self.chance.random() < 0.5
        order = {"Content-Type": "application/json", "Authorization": f"Bearer {self.tokens[asked.node]}"}
        try:
            status, _, body = request(f"{asked.url}/cluster/drain", {"node": flag, "draining": value}, order, timeout=15)
        except ConnectionRefusedError:
            return
        except OSError as error:
            refused = isinstance(getattr(error, "reason", None), ConnectionRefusedError)
            status, body = (None, b"nothing was written" if refused else b"")
        if status == 200:
            self.done += 1
            self.possible[flag] = {value}
        elif not any(word in body.decode() for word in NOT_WRITTEN):
            self.maybe += 1
            self.possible[flag] = self.possible[flag] | {value}

    def run(self, stop):
        while not stop.is_set():
            self.write()


def status(node):
    return json.loads(request(f"{node.url}/cluster/status", timeout=2)[2])


def flags(of):
    return {member["id"]: member["draining"] for member in of["members"]}


def settled(nodes):
    """The statuses once all nodes follow one leader and have applied all that it has, else None."""
    all_of_them = [status(node) for node in nodes]
    heads = {(each["leader"], each["term"], each["applied"], each["committed"]) for each in all_of_them}
    leader, _, applied, committed = heads.pop()
    is_settled = not heads and leader is not None and applied == committed
    return all_of_them if is_settled and all(len(each["members"]) == NODES for each in all_of_them) else None


def formed(nodes):
    return status(nodes[0])["cluster"]["formation"] == "formed" and settled(nodes)


def test_nodes_killed_in_a_loop_lose_and_double_nothing(tmp_path):
    chance, base = random.Random(SEED), free_port_base(NODES)
    environment = {"ERLMCP_CLUSTER_NODES_EXPECTED": str(NODES)}
    nodes = [Node(tmp_path, node=n, base=base, extra_environment=environment) for n in range(1, NODES + 1)]
    print(f"\nkill -9, {ROUNDS} rounds, ERLMCP_KILL_SEED={SEED}")
    try:
        for node in nodes:
            node.init()
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_ready()
        first = wait_for("the group", lambda: formed(nodes))
        loop(nodes, chance, first)
    finally:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
                node.process.wait()


def loop(nodes, chance, first):
    writer, began = Writer(nodes, random.Random(SEED + 1)), time.monotonic()
    members, everyone = roles(first), first
    for number in range(ROUNDS):
        stop, before, start = threading.Event(), writer.done, (writer.done, writer.maybe)
        thread = threading.Thread(target=writer.run, args=(stop,), daemon=True)
        thread.start()
        wait_for("writes before the kill", lambda: writer.done > before + 5)
        killed = chance.sample(nodes, 2 if chance.random() < 0.2 else 1)
        for node in killed:
            node.process.kill()
        for node in killed:
            node.process.wait()
            node.start()
        alive = writer.done
        wait_for("writes after the kill", lambda: writer.done > alive + 5, seconds=30)
        stop.set()
        thread.join(30)
        assert not thread.is_alive(), "a write without an answer"
        past, everyone = everyone, wait_for("one state on all nodes", lambda: settled(nodes), seconds=30)
        check_flags(number, writer, everyone)
        witness = next(at for at, node in enumerate(nodes) if node not in killed)
        check_log(number, (writer.done - start[0], writer.maybe - start[1]), past[witness], everyone[witness])
    assert roles(everyone) == members, "the membership was to stay"
    took = time.monotonic() - began
    entries, terms = (everyone[0][what] - first[0][what] for what in ("applied", "term"))
    counted = f"{writer.done} acknowledged, {writer.maybe} uncertain, {terms} terms, {entries} entries"
    print(f"{counted} in {took:.1f} s")


def roles(everyone):
    return {member["id"]: member["role"] for member in everyone[0]["members"]}


def check_flags(number, writer, everyone):
    last = everyone[0]
    for each in everyone:
        for flag, value in flags(each).items():
            assert value in writer.possible[flag], f"round {number}: flag {flag} is {value}, may be {writer.possible[flag]}"
        assert flags(each) == flags(last), f"round {number}"
    # All is applied everywhere: what was uncertain is decided now.
    writer.possible = {flag: {value} for flag, value in flags(last).items()}


def check_log(number, written, past, now):
    """`written`: how many writes of the round were acknowledged, and how many are uncertain."""
    entries = (now["applied"] - now["share_entries"]) - (past["applied"] - past["share_entries"])
    (done, maybe), terms = written, now["term"] - past["term"]
    assert entries >= done, f"round {number}: {done} acknowledged, {entries} in the log"
    assert entries <= done + maybe + terms, f"round {number}: {entries} in the log; {done} + {maybe} written, {terms} terms"
