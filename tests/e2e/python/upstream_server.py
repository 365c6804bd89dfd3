"""An upstream MCP server written with the official Python SDK (`pip install "mcp==2.*"`), for tests of the gateway.

usage: upstream_server.py --transport stdio
       upstream_server.py --transport http --port 0     prints its URL as the first line on stdout

It offers the same in both eras: tools (add, slow_progress, fail, who, big, grow, touch, log), two resources, a template, a prompt.
"""
import argparse
import asyncio
import socket
import sys
from typing import Annotated

from pydantic import BaseModel

from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve

mcp = MCPServer("python-upstream", instructions="A server to stand behind a gateway.")


@mcp.tool()
def add(a: int, b: int) -> int:
    """Adds two integers of any size."""
    return a + b


@mcp.tool()
async def slow_progress(ctx: Context, steps: int = 3) -> str:
    """Reports progress `steps` times, then answers."""
    for step in range(steps):
        await ctx.report_progress(step + 1, steps, f"step {step + 1}")
        await asyncio.sleep(0.01)
    return "done"


@mcp.tool()
def fail() -> str:
    """Fails: the result has isError."""
    raise ValueError("this tool always fails")


@mcp.tool()
async def log(ctx: Context) -> str:
    """Logs one line at level info, then answers."""
    await ctx.info("a line of log")
    return "logged"


class Name(BaseModel):
    name: str


async def ask_name() -> Elicit[Name]:
    return Elicit("Who are you?", Name)


@mcp.tool()
async def who(answer: Annotated[Name, Resolve(ask_name)]) -> str:
    """Asks the user for a name: by elicitation/create in mid-call (legacy) or by input_required (modern)."""
    return f"Hello, {answer.name}!"


@mcp.tool()
async def hang() -> str:
    """Never answers."""
    await asyncio.sleep(3600)
    return "never"


@mcp.tool()
async def grow(name: str, ctx: Context) -> str:
    """Adds a tool named `name` and announces it."""
    mcp.add_tool(lambda: name, name=name, description="grown")
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


@mcp.resource("memo://one")
def memo() -> str:
    """One memo."""
    return "remember the milk"


@mcp.resource("memo://by-name/{name}")
def memo_by_name(name: str) -> str:
    """A memo by its name."""
    return f"a memo about {name}"


@mcp.prompt()
def greet(name: str) -> str:
    """Greets somebody."""
    return f"Please greet {name}."


async def serve_http(port: int) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", port))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(mcp.streamable_http_app(), log_level="warning")
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--transport", choices=["stdio", "http"], default="stdio")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.transport == "stdio":
        mcp.run()
    else:
        asyncio.run(serve_http(options.port))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
