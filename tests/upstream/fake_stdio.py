"""A small MCP server over stdio that behaves, or lies, as its tools are told. Standard library only.

usage: fake_stdio.py [--eras legacy,modern] [--lock] [--grandchild] [--refuse-start] [--slow-start S]
--lock: the first era that is spoken on the connection is the only one (as the Python SDK does).
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--eras", default="legacy,modern")
parser.add_argument("--lock", action="store_true")
parser.add_argument("--grandchild", action="store_true")
parser.add_argument("--stay", action="store_true", help="live on after the end of stdin and SIGTERM")
parser.add_argument("--refuse-start", action="store_true")
parser.add_argument("--deaf-to-unknown", action="store_true")
parser.add_argument("--tasks", action="store_true", help="have the tool work, whose tasks anybody may list and cancel")
options = parser.parse_args()
ERAS = set(options.eras.split(","))
MODERN = "io.modelcontextprotocol/protocolVersion"
BIG = 123456789012345678901234567890

if options.stay:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if options.refuse_start:
    sys.stderr.write("no, I will not\n")
    sys.exit(3)
grandchild = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL) if options.grandchild else None
state = {"era": None, "tools": ["echo"], "lines": [], "asks": {}, "hello": None, "listen": None,
         "held": {}, "late": {}, "tasks": {}}


def write(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def send(message):
    write(json.dumps(message))


def answer(request, result):
    if MODERN in request.get("params", {}).get("_meta", {}):
        result = {"resultType": "complete", **result}
    send({"jsonrpc": "2.0", "id": request["id"], "result": result})


def error(request, code, text, data=None):
    body = {"code": code, "message": text}
    if data is not None:
        body["data"] = data
    send({"jsonrpc": "2.0", "id": request["id"], "error": body})


def notify(method, params):
    send({"jsonrpc": "2.0", "method": method, "params": params})


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def ask(request, method, params):
    key = "ask-%d" % (len(state["asks"]) + 1)
    state["asks"][key] = request
    send({"jsonrpc": "2.0", "id": key, "method": method, "params": params})


TOOLS = ["echo", "progress", "fail", "ask", "ask_url", "hang", "lines", "hello", "env", "die", "pids", "grow",
         "announce", "touch", "log", "unknown_id", "twice", "garbage", "oversize", "flood", "oversize_answer",
         "orphan_progress", "stderr", "deep", "late"]

if options.tasks:
    TOOLS.append("work")


def task(request, method, params):
    own = params.get("arguments", {}).get("id") or params.get("taskId")
    if method == "tools/call":
        state["tasks"][own] = {"taskId": own, "status": "working", "extra": BIG}
        modern = MODERN in params.get("_meta", {})
        answer(request, {"resultType": "task", **state["tasks"][own]} if modern else {"task": state["tasks"][own]})
    elif method == "tasks/list":
        answer(request, {"tasks": list(state["tasks"].values())})
    elif own not in state["tasks"]:
        error(request, -32602, "no such task: " + own)
    else:
        if method == "tasks/cancel":
            state["tasks"][own]["status"] = "cancelled"
        answer(request, state["tasks"][own])


def tool(request, line):
    params = request["params"]
    name, arguments = params["name"], params.get("arguments", {})
    token = params.get("_meta", {}).get("progressToken")
    if name == "echo":
        write('{"jsonrpc":"2.0","id":%s,"result":{"content":[],"big":%d,"kept": 1.000, "a":{"z":1,"b":[ ]},"line":%s}}'
              % (json.dumps(request["id"]), BIG, json.dumps(line)))
    elif name == "progress":
        for step in range(arguments.get("steps", 3)):
            notify("notifications/progress", {"progressToken": token, "progress": step, "extra": BIG})
        answer(request, text("done"))
    elif name == "fail":
        error(request, -32055, "I failed", {"why": BIG})
    elif name == "ask":
        ask(request, "elicitation/create", {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}})
    elif name == "ask_url":
        ask(request, "elicitation/create", {"mode": "url", "message": "go", "url": "http://x/", "elicitationId": "e"})
    elif name == "hang":
        pass
    elif name == "late":
        time.sleep(arguments["s"])
        answer(request, text("late"))
    elif name == "lines":
        answer(request, {"lines": state["lines"]})
    elif name == "hello":
        answer(request, {"hello": state["hello"], "pid": os.getpid()})
    elif name == "env":
        answer(request, {"env": dict(os.environ), "cwd": os.getcwd()})
    elif name == "die":
        os._exit(7)
    elif name == "pids":
        answer(request, {"pid": os.getpid(), "group": os.getpgid(0), "grandchild": grandchild and grandchild.pid})
    elif name == "grow":
        state["tools"].append(arguments["name"])
        announce("notifications/tools/list_changed", {})
        answer(request, text("grown"))
    elif name == "announce":
        announce("notifications/%s/list_changed" % arguments["list"], {})
        answer(request, text("announced"))
    elif name == "touch":
        announce("notifications/resources/updated", {"uri": arguments["uri"]})
        answer(request, text("touched"))
    elif name == "log":
        for level in ["debug", "info", "error"]:
            notify("notifications/message", {"level": level, "data": level})
        answer(request, text("logged"))
    elif name == "log_after":
        answer(request, text("logged"))
        notify("notifications/message", {"level": "error", "data": "afterwards"})
    elif name == "page_done":
        notify("notifications/elicitation/complete", {"elicitationId": arguments["id"]})
        answer(request, text("done"))
    elif name == "ask_late":
        state["held"][arguments["key"]] = request
    elif name == "release":
        held = state["held"][arguments["key"]]
        send({"jsonrpc": "2.0", "id": "late-" + arguments["key"], "method": "elicitation/create",
              "params": {"message": "SECRET", "requestedSchema": {"type": "object", "properties": {}}}})
        state["asks"]["late-" + arguments["key"]] = {**held, "late": arguments["key"]}
        answer(request, text("released"))
    elif name == "asked":
        answer(request, state["late"].get(arguments["key"], {}))
    elif name == "finish":
        answer(state["held"].pop(arguments["key"]), text("finished"))
        answer(request, text("ok"))
    elif name == "unknown_id":
        send({"jsonrpc": "2.0", "id": 99999, "result": text("a lie")})
        send({"jsonrpc": "2.0", "id": "no number", "result": text("a lie")})
        send({"jsonrpc": "2.0", "error": {"code": -32600, "message": "without id"}})
        answer(request, text("truth"))
    elif name == "twice":
        answer(request, text("first"))
        answer(request, text("second"))
    elif name == "garbage":
        write("this is no JSON")
        write("{\"jsonrpc\":\"2.0\"")
        write("[]")
        sys.stdout.buffer.write(b"\xff\xfe\n")
        answer(request, text("fine"))
    elif name == "oversize":
        write('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"%s"}}'
              % ("x" * (17 * 1024 * 1024)))
        answer(request, text("after"))
    elif name == "oversize_answer":
        write('{"jsonrpc":"2.0","id":%s,"result":{"x":"%s"}}' % (request["id"], "x" * (17 * 1024 * 1024)))
    elif name == "deep":
        write('{"jsonrpc":"2.0","id":%s,"result":{"x":%s1%s}}' % (request["id"], "[" * 100, "]" * 100))
    elif name == "flood":
        line = json.dumps({"jsonrpc": "2.0", "method": "notifications/message",
                           "params": {"level": "info", "data": "y" * 1000}})
        sys.stdout.write((line + "\n") * arguments["count"])
        answer(request, text("flooded"))
    elif name == "orphan_progress":
        notify("notifications/progress", {"progressToken": "never seen", "progress": 1})
        notify("notifications/progress", {"progressToken": 4711, "progress": 1})
        answer(request, text("ok"))
    elif name == "stderr":
        for _ in range(arguments["lines"]):
            sys.stderr.write("z" * 10000 + "\n")
        sys.stderr.flush()
        answer(request, text("ok"))
    else:
        error(request, -32602, "Unknown tool: " + name)


def announce(method, params):
    if state["listen"] is not None:
        params = {**params, "_meta": {"io.modelcontextprotocol/subscriptionId": state["listen"]}}
    notify(method, params)


def page(request):
    tools = [{"name": name, "inputSchema": {"type": "object"}, "x": BIG} for name in state["tools"] + TOOLS[1:]]
    start = int(request.get("params", {}).get("cursor", "0"))
    result = {"tools": tools[start:start + 10]}
    if start + 10 < len(tools):
        result["nextCursor"] = str(start + 10)
    return result


CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "prompts": {}, "logging": {},
                "experimental": {"big": BIG}}

if options.tasks:
    CAPABILITIES["tasks"] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    CAPABILITIES["extensions"] = {"io.modelcontextprotocol/tasks": {}}


def take(message, line):
    if "method" not in message:
        request = state["asks"].pop(message.get("id"), None)
        if request and "late" in request:
            state["late"][request["late"]] = {"answered": message.get("result"), "refused": message.get("error")}
        elif request:
            answer(request, {"answered": message.get("result"), "refused": message.get("error")})
        return
    method = message["method"]
    if "id" not in message:
        return
    modern = MODERN in message.get("params", {}).get("_meta", {})
    era = "modern" if modern else "legacy"
    if era not in ERAS or (options.lock and state["era"] not in (None, era)):
        if options.deaf_to_unknown:
            return
        return error(message, -32022 if ERAS == {"modern"} or state["era"] == "modern" else -32601, "not in this era")
    state["era"] = era
    if method == "server/discover" and modern:
        answer(message, {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "ttlMs": 0,
                         "cacheScope": "private", "instructions": "be modern"})
    elif method == "initialize":
        state["hello"] = message["params"]
        answer(message, {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES,
                         "serverInfo": {"name": "fake", "version": "1"}, "instructions": "be kind"})
    elif method == "tools/list":
        answer(message, page(message))
    elif method == "resources/list":
        answer(message, {"resources": [{"uri": "fake://a", "name": "a"}]})
    elif method == "resources/read":
        uri = message["params"]["uri"]
        if uri == "fake://a":
            answer(message, {"contents": [{"uri": uri, "text": "A"}]})
        else:
            error(message, -32602 if modern else -32002, "no such resource", {"uri": uri})
    elif method == "prompts/list":
        answer(message, {"prompts": [{"name": "p"}]})
    elif options.tasks and (method.startswith("tasks/") or message.get("params", {}).get("name") == "work"):
        task(message, method, message.get("params", {}))
    elif method == "tools/call":
        tool(message, line)
    elif method == "subscriptions/listen":
        state["listen"] = message["id"]
        announce("notifications/subscriptions/acknowledged", {"notifications": message["params"]["notifications"]})
    elif method == "resources/subscribe" and message["params"]["uri"] == "fake://refused":
        error(message, -32602, "not that one")
    elif method in ("ping", "resources/subscribe", "resources/unsubscribe", "logging/setLevel"):
        answer(message, {})
    else:
        error(message, -32601, "no such method: " + method)


for raw_line in sys.stdin:
    raw_line = raw_line.rstrip("\n")
    state["lines"].append(raw_line)
    take(json.loads(raw_line), raw_line)

while options.stay:
    time.sleep(1000)
