"""One hostile client: a program that attacks a node from 127.0.0.2 for some seconds, in one of many ways, and says what it did.

    hostile.py ATTACK PORT SECONDS RATE    RATE: requests, connections or sessions a second; prints one JSON object

It is one process, so that it takes no more than one processor; nothing here waits for the node where an attacker would not.
"""

import collections
import json
import os
import select
import socket
import struct
import sys
import time

from node import MODERN_META

ADDRESS = "127.0.0.2"
LEGACY = "2025-11-25"
BIG = 900_000


class Attack:
    """What all attacks share: the place, the time, the pace, and a count of answers by status."""

    def __init__(self, port, seconds, rate):
        self.port, self.rate, self.began = port, rate, time.monotonic()
        self.end = self.began + seconds
        self.answers = collections.Counter()
        self.done = 0
        self.kept = []

    def turns(self, most=1 << 60):
        """One turn for each request that may be made by now, until the time is over."""
        while time.monotonic() < self.end and self.done < most:
            due = self.began + self.done / self.rate
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            self.done += 1
            yield self.done

    def connect(self):
        """A new connection, or None: the node or the machine takes no more."""
        own = socket.socket()
        own.settimeout(5)
        try:
            own.bind((ADDRESS, 0))
            own.connect(("127.0.0.1", self.port))
        except OSError as error:
            own.close()
            self.answers[type(error).__name__] += 1
            return None
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return own

    def keep(self):
        """A new connection that is held until the end."""
        own = self.connect()
        if own is not None:
            self.kept.append(own)
        return own

    def send(self, own, data):
        try:
            own.sendall(data)
            return True
        except OSError as error:
            self.answers[type(error).__name__] += 1
            return False

    def hold(self):
        """Holds everything until the time is over."""
        time.sleep(max(0.0, self.end - time.monotonic()))

    def drain(self, own):
        """Reads and forgets what has come."""
        while select.select([own], [], [], 0)[0]:
            if not own.recv(1 << 16):
                return False
        return True


def post(body, extra="", length=None):
    """A POST of /mcp; a dict is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        f"{extra}Content-Length: {length or len(data)}\r\n\r\n"
    )
    return head.encode() + data


def modern(method, params, name=""):
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": MODERN_META}}
    named = f"Mcp-Name: {name}\r\n" if name else ""
    return post(body, f"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{named}")


def call(tool, arguments):
    return modern("tools/call", {"name": tool, "arguments": arguments}, tool)


def initialize(info=None, capabilities=None):
    params = {"protocolVersion": LEGACY, "capabilities": capabilities or {}, "clientInfo": {"name": "x", "version": "1", **(info or {})}}
    return post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})


def in_session(session, method, params, message_id=1):
    body = {"jsonrpc": "2.0", "method": method, "params": params}
    if message_id is not None:
        body["id"] = message_id
    return post(body, f"Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: {LEGACY}\r\n")


def receive(own):
    """(status, headers, body) of one answer with a length, or None."""
    text = b""
    try:
        while b"\r\n\r\n" not in text:
            more = own.recv(65536)
            if not more:
                return None
            text += more
        head, _, body = text.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields.get(b"content-length", b"0")):
            more = own.recv(65536)
            if not more:
                return None
            body += more
    except OSError:
        return None
    return int(head.split(b" ", 2)[1]), fields, body


def exchange(attack, own, data):
    """Sends and waits; (the connection to go on with, answer)."""
    own = own or attack.connect()
    if own is None or not attack.send(own, data):
        return None, None
    answer = receive(own)
    attack.answers[answer[0] if answer else "closed"] += 1
    if answer is None or answer[1].get(b"connection") == b"close":
        own.close()
        own = None
    return own, answer


def open_session(attack, own=None):
    """(the connection, id of a new session or None)."""
    own, answer = exchange(attack, own, initialize())
    session = (answer[1].get(b"mcp-session-id") or b"").decode() if answer else ""
    if session:
        own, _ = exchange(attack, own, in_session(session, "notifications/initialized", {}, None))
    return own, session or None


# What HTTP/2 needs, and no more: literal headers without compression, by hand.

def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def h2_start(window):
    settings = struct.pack(">HI", 4, window)
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, settings)


def h2_request(stream, data):
    """The HTTP/1 request `data` as frames of a stream."""
    head, _, body = data.partition(b"\r\n\r\n")
    fields = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
    block = literal(b":method", b"POST") + literal(b":scheme", b"http") + literal(b":path", b"/mcp")
    block += literal(b":authority", b"localhost")
    block += b"".join(literal(name.lower(), value) for name, value in fields if name != b"Host")
    return frame(1, 4, stream, block) + frame(0, 1, stream, body)


# The attacks.

def harmless(attack):
    """As many calls as an attack makes requests, of the kind that any client makes."""
    connections = [attack.connect() for _ in range(4)]
    for turn in attack.turns():
        at = turn % len(connections)
        connections[at], _ = exchange(attack, connections[at], call("echo", {"text": "x"}))


def big_initialize(attack):
    own = None
    info = {"padding": "x" * BIG}
    for _ in attack.turns():
        own, _ = exchange(attack, own, initialize(info))


def full_initialize(attack):
    """What is still allowed, in as many sessions as there may be."""
    own = None
    for _ in attack.turns():
        own, _ = exchange(attack, own, initialize({"padding": "x" * 4_000}, {"experimental": {"x": "y" * 16_000}}))


def big_subscribe(attack):
    own, session = open_session(attack)
    for turn in attack.turns():
        uri = f"fake://{turn}/" + "x" * (BIG if turn % 50 == 0 else 8_000)
        own, answer = exchange(attack, own, in_session(session, "resources/subscribe", {"uri": uri}))
        if answer is None:
            own, session = open_session(attack)


def short_bodies(attack):
    data = post(b"{" * (1 << 20), length=(1 << 20) + 1)
    for _ in attack.turns(800):
        own = attack.keep()
        if own is None or not attack.send(own, data):
            continue
        own.setblocking(False)
    attack.hold()


def window_zero(attack):
    """Calls whose answers are never read."""
    request = call("shared__echo", {"text": "x" * 1000})
    connections = []
    for turn in attack.turns(2_000):
        if (turn - 1) % 100 == 0:
            connections = [attack.keep()]
            if connections[0] is not None:
                attack.send(connections[0], h2_start(0))
        if connections[0] is not None:
            attack.send(connections[0], h2_request(2 * ((turn - 1) % 100) + 1, request))
    attack.hold()


def rapid_reset(attack):
    own, stream = None, 0
    request = call("shared__echo", {"text": "x"})
    for turn in attack.turns():
        if own is None or stream > 20_000:
            own, stream = attack.connect(), 1
            if own is None:
                continue
            attack.send(own, h2_start(65_535))
        sent = attack.send(own, h2_request(stream, request) + frame(3, 0, stream, struct.pack(">I", 8)))
        stream += 2
        if not sent or (turn % 50 == 0 and not attack.drain(own)):
            own.close()
            own = None
            attack.answers["closed"] += 1


def notifications(attack):
    """Notifications that the session's upstreams would be told, sent without waiting for an answer."""
    own, session = open_session(attack)
    for tool in ("web__echo", "own__echo"):
        own, _ = exchange(attack, own, in_session(session, "tools/call", {"name": tool, "arguments": {"text": "x"}}))
    known = in_session(session, "notifications/roots/list_changed", {}, None)
    unknown = in_session(session, "notifications/anything", {"x": "y" * 200}, None)
    for turn in attack.turns(10_000):
        if not attack.send(own, unknown if turn % 2 else known):
            break
        if turn % 20 == 0 and not attack.drain(own):
            break


def get_streams(attack):
    own = None
    for _ in attack.turns():
        own, session = open_session(attack, own)
        if session is None:
            continue
        own, _ = exchange(attack, own, in_session(session, "tools/call", {"name": "web__echo", "arguments": {"text": "x"}}))
        stream = attack.keep()
        if stream is not None:
            attack.send(stream, (
                f"GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\n"
                f"MCP-Protocol-Version: {LEGACY}\r\n\r\n"
            ).encode())


def children(attack):
    """A session with an own child each; nobody waits for the child."""
    own = None
    for _ in attack.turns():
        own, session = open_session(attack, own)
        caller = attack.keep()
        if session is not None and caller is not None:
            attack.send(caller, in_session(session, "tools/call", {"name": "own__echo", "arguments": {"text": "x"}}))


def sessions(attack):
    """Sessions until one is refused, and on."""
    own = None
    for _ in attack.turns():
        own, _ = exchange(attack, own, initialize())


def slow_calls(attack):
    """Calls of a tool that takes its time, to take all places of its upstream."""
    request = call("shared__hang", {})
    connections = []
    for turn in attack.turns(2_000):
        if (turn - 1) % 100 == 0:
            connections = [attack.keep()]
            if connections[0] is not None:
                attack.send(connections[0], h2_start(65_535))
        if connections[0] is not None:
            attack.send(connections[0], h2_request(2 * ((turn - 1) % 100) + 1, request))
    attack.hold()


def large_calls(attack):
    """1 MB each, to a tool that never answers; nobody waits for one."""
    request = call("shared__hang", {"padding": "x" * (1 << 20)})
    for _ in attack.turns(1_000):
        own = attack.keep()
        if own is not None:
            attack.send(own, request)
    attack.hold()


def slow_head(attack):
    """Heads of which a byte comes now and then."""
    text = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    for turn in attack.turns():
        if len(attack.kept) < 500:
            own = attack.keep()
            if own is not None:
                attack.send(own, text)
        else:
            attack.send(attack.kept[turn % 500], b"x")


def slow_body(attack):
    data = post(b"{", length=100_000)
    for turn in attack.turns():
        if len(attack.kept) < 500:
            own = attack.keep()
            if own is not None:
                attack.send(own, data)
        else:
            attack.send(attack.kept[turn % 500], b" ")


def slow_read(attack):
    """Asks again and again, over connections of which nothing is read."""
    request = modern("tools/list", {})
    for turn in attack.turns():
        if len(attack.kept) < 200:
            own = attack.keep()
            if own is not None:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                own.setblocking(False)
        if attack.kept:
            attack.send(attack.kept[turn % len(attack.kept)], request)


def idle_after_livez(attack):
    for _ in attack.turns(1_000):
        own = attack.keep()
        if own is not None:
            exchange(attack, own, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    attack.hold()


def admin_body(attack):
    head = b"POST /cluster/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    for _ in attack.turns(1_000):
        own = attack.keep()
        if own is not None:
            attack.send(own, head)
    attack.hold()


def long_bodies(attack):
    """5 MB each, to a client that writes and reads at once: it has to see the 413."""
    data = post(b" " * 5_000_000)
    for _ in attack.turns(200):
        own = attack.connect()
        if own is None:
            continue
        own.setblocking(False)
        sent, status = 0, None
        while status is None:
            readable, writable, _ = select.select([own], [own] if sent < len(data) else [], [], 10)
            try:
                if readable:
                    status = (own.recv(65536) or b"HTTP/1.1 closed").split(b" ", 2)[1].decode()
                elif writable:
                    sent += own.send(data[sent : sent + (1 << 18)])
                else:
                    status = "silence"
            except OSError as error:
                status = type(error).__name__
        attack.answers[int(status) if status.isdigit() else status] += 1
        own.close()


ATTACKS = [
    big_initialize, full_initialize, big_subscribe, short_bodies, window_zero, rapid_reset, notifications, get_streams,
    children, sessions, slow_calls, large_calls, slow_head, slow_body, slow_read, idle_after_livez, admin_body, long_bodies,
]


def main():
    name, port, seconds, rate = sys.argv[1:]
    work = {attack.__name__: attack for attack in [harmless, *ATTACKS]}[name]
    os.nice(5)
    attack = Attack(int(port), float(seconds), float(rate))
    work(attack)
    print(json.dumps({"attack": name, "done": attack.done, "answers": attack.answers}))


if __name__ == "__main__":
    main()
