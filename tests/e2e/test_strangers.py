"""A crowd that connects to every peer port and says nothing: the group elects and writes as if it were not there."""

import json
import selectors
import socket
import threading
import time

from node import request, wait_for

# More than a node keeps connections of peers.
CROWD = 4300
# After a kill, as without a crowd.
GAP_S_MAX = 2.0


class Crowd(threading.Thread):
    """Opens connections to a port, `CROWD` at first, and goes on with newcomers for those that are closed."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.opened, self.stopped = port, 0, threading.Event()

    def run(self):
        selector = selectors.DefaultSelector()
        while not self.stopped.is_set():
            if len(selector.get_map()) < CROWD:
                try:
                    stranger = socket.create_connection(("127.0.0.1", self.port), timeout=1)
                except OSError:
                    time.sleep(0.01)
                    continue
                selector.register(stranger, selectors.EVENT_READ)
                self.opened += 1
            if self.opened > CROWD:
                time.sleep(0.002)
            for key, _ in selector.select(0) if self.opened % 64 == 0 else []:
                selector.unregister(key.fileobj)
                key.fileobj.close()
        for key in list(selector.get_map().values()):
            key.fileobj.close()


def test_a_crowd_of_strangers_on_every_peer_port_keeps_nobody_from_electing(new_cluster):
    cluster = new_cluster()
    cluster.script("start")
    leader = wait_for("a leader", cluster.leader)
    others = [node for node in cluster.ids() if node != leader]
    crowds = [Crowd(cluster.base + 1121 + node - 1) for node in cluster.ids()]
    for crowd in crowds:
        crowd.start()
    wait_for("a crowd at every port", lambda: all(crowd.opened > CROWD for crowd in crowds), seconds=60)
    cluster.kill(leader)
    killed = time.monotonic()

    now = cluster.wait_another_leads(than=leader, among=others, seconds=30)
    gap = time.monotonic() - killed
    done = cluster.cli("drain", "--id", str(others[0]), "--url", cluster.url(others[0]))
    assert done.returncode == 0, done.stderr
    turned_away = {node: cluster.status(node)["peer_port"] for node in others}
    for crowd in crowds:
        crowd.stopped.set()
    for crowd in crowds:
        crowd.join(10)
    print(f"\n{sum(crowd.opened for crowd in crowds)} strangers at four peer ports; node {now} leads {gap:.2f} s after the leader "
          f"was killed; turned away: {json.dumps(turned_away)}")
    assert gap < GAP_S_MAX
    assert all(counts["strangers"] > CROWD / 2 for counts in turned_away.values()), turned_away
    stranger = request(f"http://127.0.0.1:{cluster.base + 1121 + others[0] - 1}/peer/v2/hello", b"", method="POST")
    assert stranger[0] == 401, stranger
    wait_for("it is counted", lambda: cluster.status(others[0])["peer_port"]["unproven"] > 0)
