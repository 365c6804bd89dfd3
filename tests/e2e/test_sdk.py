"""The official Python SDK as client, in legacy and auto mode, against upstreams written with that SDK: over stdio and over HTTP."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from node import wait_for

SERVER = Path(__file__).parent / "python" / "upstream_server.py"
MODES = ["legacy", "auto"]
KINDS = ["stdio", "http"]


@pytest.fixture
def gateway(new_node, tmp_path, request):
    """A node with one upstream of the kind that the test asks for."""
    http = None
    if request.param == "http":
        command = [sys.executable, str(SERVER), "--transport", "http", "--port", "0"]
        http = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        place = f'url = "{http.stdout.readline().strip()}"'
    else:
        place = f'command = "{sys.executable}"\nargs = ["{SERVER}", "--transport", "stdio"]'
    config = tmp_path / "cluster.toml"
    config.write_text(f'[[upstream]]\nname = "python"\n{place}\n')
    node = new_node(config=config)
    node.init()
    node.start().wait_ready()
    for mode in MODES:
        wait_for(f"the upstream's tools, {mode}", lambda: "add" in asyncio.run(tool_names(node, mode)))
    yield node
    assert node.stop() == 0
    if http is not None:
        http.kill()
        http.wait()


async def tool_names(node, mode):
    async with Client(f"{node.url}/mcp", mode=mode, read_timeout_seconds=10) as client:
        return [tool.name for tool in (await client.list_tools()).tools]


def run(node, mode, story, **words):
    async def within():
        async with asyncio.timeout(30):
            async with Client(f"{node.url}/mcp", mode=mode, read_timeout_seconds=10, **words) as client:
                return await story(client)

    return asyncio.run(within())


every_way = [
    pytest.mark.parametrize("gateway", KINDS, indirect=True),
    pytest.mark.parametrize("mode", MODES),
]


def in_every_way(test):
    for mark in every_way:
        test = mark(test)
    return test


@in_every_way
def test_the_client_gets_what_the_upstream_offers(gateway, mode):
    progress = []

    async def on_progress(done, total, message):
        progress.append((done, total, message))

    async def on_elicit(context, params):
        assert "name" in params.message
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def story(client):
        version = "2025-11-25" if mode == "legacy" else "2026-07-28"
        assert client.protocol_version == version
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"add", "fail", "count", "greet", "echo", "cluster_status"} <= set(tools)
        assert tools["add"].description == "Adds two integers."
        result = await client.call_tool("add", {"a": 2, "b": 40})
        assert result.content[0].text == "42" and result.structured_content == {"result": 42}
        result = await client.call_tool("count", {"to": 5}, progress_callback=on_progress)
        assert result.content[0].text == "counted to 5"
        assert [step for step, _, _ in progress] == [1, 2, 3, 4, 5]
        assert progress[-1] == (5, 5, "step 5")
        result = await client.call_tool("fail", {"why": "on purpose"})
        assert result.is_error and "on purpose" in result.content[0].text
        with pytest.raises(MCPError) as unknown:
            await client.call_tool("no_such_tool", {})
        assert unknown.value.error.code == -32602
        resources = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert "note://static" in resources
        assert (await client.read_resource("note://static")).contents[0].text == "a static note"
        templates = [t.uri_template for t in (await client.list_resource_templates()).resource_templates]
        assert "note://{id}/text" in templates
        assert (await client.read_resource("note://7/text")).contents[0].text == "note 7"
        prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
        assert "review" in prompts
        prompt = await client.get_prompt("review", {"code": "x = 1"})
        assert "Review this: x = 1" in prompt.messages[0].content.text
        result = await client.call_tool("greet", {})
        assert result.content[0].text == "Hello, Ada!"
        result = await client.call_tool("echo", {"text": "from the node itself"})
        assert "from the node itself" in result.content[0].text

    run(gateway, mode, story, elicitation_callback=on_elicit)


@in_every_way
def test_many_calls_at_once_each_get_their_own_answer(gateway, mode):
    async def story(client):
        answers = await asyncio.gather(*(client.call_tool("add", {"a": n, "b": 1000}) for n in range(100)))
        assert [answer.structured_content["result"] for answer in answers] == [n + 1000 for n in range(100)]

    run(gateway, mode, story)


@pytest.mark.parametrize("gateway", KINDS, indirect=True)
def test_a_modern_listener_hears_of_a_resource_that_an_upstream_changed(gateway):
    async def story(client):
        async with client.listen(resource_subscriptions=["note://static"]) as events:
            heard = asyncio.create_task(anext(aiter(events)))
            while not heard.done():
                # The node's own stream to the upstream opens a little after ours: say it until it is heard.
                await client.call_tool("touch", {"uri": "note://static"})
                await asyncio.wait([heard], timeout=0.1)
            return str((await heard).uri)

    assert run(gateway, "auto", story) == "note://static"


@pytest.mark.parametrize("gateway", ["stdio"], indirect=True)
def test_a_killed_child_is_replaced_and_none_is_left_after_the_node(gateway):
    async def pid(client):
        return (await client.call_tool("pid", {})).structured_content["result"]

    first = run(gateway, "auto", pid)
    os.kill(first, signal.SIGKILL)

    def another():
        try:
            found = run(gateway, "auto", pid)
        except* MCPError:
            found = None
        return found if found != first else None

    second = wait_for("another child", another, seconds=15, every=0.1)
    assert gateway.stop() == 0
    wait_for("the child gone with the node", lambda: not Path(f"/proc/{second}").exists())


@pytest.mark.parametrize("gateway", ["stdio"], indirect=True)
def test_a_killed_node_takes_its_child_with_it(gateway):
    async def pid(client):
        return (await client.call_tool("pid", {})).structured_content["result"]

    child = run(gateway, "auto", pid)
    gateway.process.kill()
    gateway.process.wait()
    wait_for("the child gone with the node", lambda: not Path(f"/proc/{child}").exists())
    gateway.start().wait_ready()
