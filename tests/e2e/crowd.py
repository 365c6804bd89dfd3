"""Many clients that push for admission, and a count of those admitted that the nodes have no part in.

*Admitted* is a connection on which its client, asking at once, has had a result, and which the kernel then shows established at a
node's port. The clients' set is fixed before the kernel is asked, so each pair that is counted was admitted at one instant: the count
can be too low by those that just came or went, and never too high. A refusal is no result.
"""

import errno
import heapq
import json
import math
import random
import select
import socket
import threading
import time

from node import MODERN_META

BODY = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": "x"}, "_meta": MODERN_META},
    }
).encode()
HEAD = (
    "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
    "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\nContent-Length: %d\r\n\r\n"
)
REQUEST = HEAD.encode() % len(BODY) + BODY
# A client asks again after so many seconds, so that its connection is in use.
AGAIN_S = (3.0, 4.5)
# Before it had a first answer a client gives up after this.
PATIENCE_S = 6.0


class Client:
    """One client of one node; it has one socket at a time."""

    __slots__ = ("node", "socket", "port", "admitted", "asked", "connected_at", "text", "turn")

    def __init__(self, node):
        self.node, self.socket, self.port, self.admitted, self.asked, self.connected_at = node, None, 0, False, False, 0.0
        self.text, self.turn = b"", 0


class Crowd(threading.Thread):
    """Clients in one thread. `addresses` names each node's (host, port).

    With `stay_s` an admitted client leaves after about so many seconds, and another comes.
    """

    def __init__(self, addresses, stay_s=None):
        super().__init__(daemon=True)
        self.stay_s = stay_s
        self.addresses = addresses
        self.clients = {node: [] for node in addresses}
        self.wanted = {node: 0 for node in addresses}
        self.by_fd = {}
        self.timers = []
        self.order = 0
        self.poll = select.epoll()
        self.lock = threading.Lock()
        self.is_over = False
        self.refused = self.results = self.cut = self.arrivals = 0
        # node -> time: sockets of that node connected before must not hear a byte any more.
        self.silenced = {}
        self.broken_silence = []

    def want(self, **by_node):
        """Sets how many clients push at each node: `want(n1=100)`."""
        with self.lock:
            for name, count in by_node.items():
                self.wanted[int(name[1:])] = count

    def want_all(self, count):
        """The same for every node."""
        with self.lock:
            self.wanted = {node: count for node in self.wanted}

    def admitted(self, before=math.inf):
        """(client's port, node) of each client that has had a result on the socket it has, connected before then."""
        with self.lock:
            everyone = [client for clients in self.clients.values() for client in clients if client.admitted]
            return {(client.port, client.node) for client in everyone if client.connected_at < before}

    def silence(self, node, before):
        with self.lock:
            self.silenced[node] = before

    def stop(self):
        self.is_over = True
        self.join(10)
        for clients in self.clients.values():
            for client in clients:
                self.close(client)

    def run(self):
        while not self.is_over:
            with self.lock:
                self.follow_wanted()
                now = time.monotonic()
                while self.timers and self.timers[0][0] <= now:
                    _, _, turn, act, client = heapq.heappop(self.timers)
                    if client.turn == turn:
                        act(client)
                for fd, _ in self.poll.poll(0):
                    if fd in self.by_fd:
                        self.ready(self.by_fd[fd])
            self.poll.poll(0.005, 1)

    def follow_wanted(self):
        for node, clients in self.clients.items():
            while len(clients) < self.wanted[node]:
                client = Client(node)
                clients.append(client)
                # Not all in one moment: a listen queue is finite.
                self.after(random.random(), self.connect, client)
            while len(clients) > self.wanted[node]:
                self.close(clients.pop())

    def after(self, seconds, act, client):
        self.order += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.order, client.turn, act, client))

    def close(self, client):
        client.turn += 1
        client.admitted = client.asked = False
        client.text = b""
        if client.socket is not None:
            self.by_fd.pop(client.socket.fileno(), None)
            client.socket.close()
            client.socket = None

    def again(self, client, seconds):
        self.close(client)
        self.after(seconds, self.connect, client)

    def connect(self, client):
        own = socket.socket()
        own.setblocking(False)
        code = own.connect_ex(self.addresses[client.node])
        if code not in (0, errno.EINPROGRESS):
            own.close()
            self.after(random.uniform(0.3, 1.0), self.connect, client)
            return
        client.socket, client.connected_at = own, time.monotonic()
        self.by_fd[own.fileno()] = client
        self.poll.register(own.fileno(), select.EPOLLOUT)
        self.after(PATIENCE_S, self.give_up, client)

    def give_up(self, client):
        if not client.admitted:
            self.again(client, random.random())

    def leave(self, client):
        if self.stay_s and not client.asked:
            self.again(client, random.random() / 10)

    def ask(self, client):
        try:
            client.socket.send(REQUEST)
        except OSError:
            self.lost(client)
            return
        client.asked = True

    def lost(self, client):
        self.cut += client.admitted
        self.again(client, random.uniform(0.2, 1.0))

    def ready(self, client):
        if not client.asked and not client.admitted:
            if client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.again(client, random.uniform(0.3, 1.0))
                return
            client.port = client.socket.getsockname()[1]
            self.poll.modify(client.socket.fileno(), select.EPOLLIN)
            self.ask(client)
            return
        try:
            data = client.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.lost(client)
            return
        if client.connected_at < self.silenced.get(client.node, 0):
            self.broken_silence.append((client.node, data[:80]))
        client.text += data
        self.read(client)

    def read(self, client):
        head, found, rest = client.text.partition(b"\r\n\r\n")
        if not found:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(rest) < int(fields.get(b"content-length", b"0")):
            return
        status = int(head.split(b" ", 2)[1])
        client.text, client.asked = b"", False
        if status == 200:
            self.results += 1
            if not client.admitted:
                self.arrivals += 1
                if self.stay_s:
                    self.after(random.uniform(0.5, 1.5) * self.stay_s, self.leave, client)
            client.admitted = True
            self.after(random.uniform(*AGAIN_S), self.ask, client)
        else:
            self.refused += 1
            self.again(client, float(fields.get(b"retry-after", b"1")) + random.random())


def established(ports, tables=None):
    """(client's port, node) of each connection that the kernel shows established at a node's port.

    `ports` is port -> node; `tables` is node -> its namespace's table, where the nodes have namespaces of their own.
    """
    found = set()
    for at, table in (tables or {None: "/proc/net/tcp"}).items():
        try:
            lines = open(table).readlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split(None, 4)
            if fields[3] == "01":
                node = ports.get(int(fields[1].rsplit(":", 1)[1], 16))
                if node is not None:
                    found.add((int(fields[2].rsplit(":", 1)[1], 16), at or node))
    return found


class Watch(threading.Thread):
    """Counts the admitted each 100 ms, and keeps the highest count since it was last asked."""

    def __init__(self, crowd, ports, tables=None):
        super().__init__(daemon=True)
        self.crowd, self.ports, self.tables = crowd, ports, tables
        self.counts, self.excluded = [], set()
        self.is_over = False

    def count(self):
        """How many are admitted now, by node."""
        had_results = self.crowd.admitted()
        pairs = had_results & established(self.ports, self.tables)
        by_node = dict.fromkeys(self.crowd.addresses, 0)
        for _, node in pairs:
            by_node[node] += 1
        return by_node

    def older(self, node, before):
        """How many are admitted at the node since before then."""
        pairs = self.crowd.admitted(before) & established(self.ports, self.tables)
        return sum(1 for _, of in pairs if of == node)

    def now(self):
        return sum(count for node, count in self.count().items() if node not in self.excluded)

    def run(self):
        while not self.is_over:
            began = time.monotonic()
            self.counts.append((began, self.now()))
            time.sleep(max(0.0, began + 0.1 - time.monotonic()))

    def highest(self, since=0.0):
        """The highest count since then."""
        return max((count for at, count in list(self.counts) if at >= since), default=0)

    def stop(self):
        self.is_over = True
        self.join(5)
