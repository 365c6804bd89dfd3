"""An MCP server over stdio that says what it is told to, for the call that it is told, whether that call was
cancelled or not. Standard library only.

usage: fake_speaker.py CONTROL (path of a Unix socket that the test listens on)

The control socket takes one JSON object a line and answers each with one, once the client has read everything that
was said before (a ping goes behind it and its answer is awaited):
{"await": NAME}, {"await_cancel": NAME}: until that call, or its cancellation, has arrived
{"say": "log"|"question"|"progress", "call": NAME, "tag": TEXT}, {"answer": NAME}, {"answers": true}
"""
import json
import queue
import socket
import sys
import threading

MODERN = "io.modelcontextprotocol/protocolVersion"
lock = threading.Lock()
calls, cancelled, answers, pongs = {}, set(), [], queue.Queue()
changed = threading.Condition()


def send(message):
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def answer(request, result):
    send({"id": request["id"], "result": {"resultType": "complete", **result}})


def say(order):
    request, tag = calls[order["call"]], order["tag"]
    if order["say"] == "log":
        send({"method": "notifications/message", "params": {"level": "error", "data": tag}})
    elif order["say"] == "question":
        send({"id": tag, "method": "elicitation/create",
              "params": {"message": tag, "requestedSchema": {"type": "object", "properties": {}}}})
    elif order["say"] == "progress":
        token = request["params"]["_meta"]["progressToken"]
        send({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1, "message": tag}})


def obey(order):
    if "await" in order:
        with changed:
            changed.wait_for(lambda: order["await"] in calls)
        return {}
    if "await_cancel" in order:
        request = calls[order["await_cancel"]]
        with changed:
            changed.wait_for(lambda: request["id"] in cancelled)
        return {}
    if "answers" in order:
        return {"answers": answers}
    if "say" in order:
        say(order)
    if "answer" in order:
        answer(calls.pop(order["answer"]), {"content": []})
    send({"id": "ping", "method": "ping"})
    pongs.get()
    return {}


def control(path):
    with socket.socket(socket.AF_UNIX) as test:
        test.connect(path)
        lines = test.makefile("rw")
        for line in lines:
            lines.write(json.dumps(obey(json.loads(line))) + "\n")
            lines.flush()


def take(message):
    method, params = message.get("method"), message.get("params", {})
    if method is None:
        if message.get("id") == "ping":
            pongs.put(True)
        else:
            answers.append({"tag": message["id"], "result": message.get("result"), "error": message.get("error")})
    elif method == "initialize":
        answer(message, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "logging": {}},
                         "serverInfo": {"name": "speaker", "version": "1"}})
    elif method == "server/discover":
        answer(message, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "logging": {}}})
    elif method == "tools/list":
        answer(message, {"tools": [{"name": "speak", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        with changed:
            calls[params["arguments"]["name"]] = message
            changed.notify_all()
    elif method == "notifications/cancelled":
        with changed:
            cancelled.add(params["requestId"])
            changed.notify_all()
    elif "id" in message:
        answer(message, {})


threading.Thread(target=control, args=(sys.argv[1],), daemon=True).start()
for raw_line in sys.stdin:
    take(json.loads(raw_line))
