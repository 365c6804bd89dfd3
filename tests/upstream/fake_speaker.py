"""An MCP server over stdio that says what it is told to, for the call that it is told, whether that call was
cancelled or not. Standard library only.

A call with the member "task" is answered with a task, named task-NAME, which anybody may list, read and cancel: it is
not this server that keeps clients apart. It speaks of a task as it does of a call.

usage: fake_speaker.py CONTROL (path of a Unix socket that the test listens on)

The control socket takes one JSON object a line and answers each with one, once the client has read everything that
was said before (a ping goes behind it and its answer is awaited):
{"await": NAME}, {"await_cancel": NAME}, {"await_answer": TAG}: until that call, its cancellation, or the answer to that
question has arrived
{"say": "log"|"question"|"progress", "call": NAME, "tag": TAG}, {"answer": NAME}, {"answers": true}
{"finish": NAME, "tell": BOOL}: that task is completed, and whether a notification tells it; {"tasks": true}
"""
import json
import queue
import socket
import sys
import threading

MODERN = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = {"tools": {}, "logging": {}, "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
                "extensions": {"io.modelcontextprotocol/tasks": {}}}
PATIENCE_S = 30
lock = threading.Lock()
calls, cancelled, answers, tasks, pongs = {}, set(), [], {}, queue.Queue()
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


def until(claim):
    with changed:
        if not changed.wait_for(claim, PATIENCE_S):
            raise TimeoutError


def end(name):
    request = calls.pop(name)
    if "task" not in request["params"]:
        return answer(request, {"content": [], "of": name})
    task = {"taskId": "task-" + name, "status": "working"}
    tasks[task["taskId"]], calls[task["taskId"]] = task, request
    answer(request, {**task, "resultType": "task"} if MODERN in request["params"]["_meta"] else {"task": task})


def obey(order):
    if "await" in order:
        until(lambda: order["await"] in calls)
    elif "await_cancel" in order:
        until(lambda: calls[order["await_cancel"]]["id"] in cancelled)
    elif "await_answer" in order:
        until(lambda: any(order["await_answer"] == answer["tag"] for answer in answers))
    elif "answers" in order:
        return {"answers": answers}
    elif "tasks" in order:
        return {"tasks": {name: task["status"] for name, task in tasks.items()}}
    else:
        if "say" in order:
            say(order)
        if "answer" in order:
            end(order["answer"])
        if "finish" in order:
            tasks[order["finish"]]["status"] = "completed"
            if order["tell"]:
                send({"method": "notifications/tasks/status", "params": tasks[order["finish"]]})
        send({"id": "ping", "method": "ping"})
        pongs.get(timeout=PATIENCE_S)
    return {}


def about_tasks(message, method, params):
    if method == "tasks/list":
        return answer(message, {"tasks": list(tasks.values())})
    task = tasks.get(params["taskId"])
    if task is None:
        return send({"id": message["id"], "error": {"code": -32602, "message": "no such task"}})
    if method == "tasks/cancel" and task["status"] == "working":
        task["status"] = "cancelled"
    answer(message, task)


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
            with changed:
                answers.append({"tag": message["id"], "result": message.get("result"), "error": message.get("error")})
                changed.notify_all()
    elif method == "initialize":
        answer(message, {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES,
                         "serverInfo": {"name": "speaker", "version": "1"}})
    elif method == "server/discover":
        answer(message, {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES})
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
    elif method.startswith("tasks/"):
        about_tasks(message, method, params)
    elif "id" in message:
        answer(message, {})


threading.Thread(target=control, args=(sys.argv[1],), daemon=True).start()
for raw_line in sys.stdin:
    take(json.loads(raw_line))
