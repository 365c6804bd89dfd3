"""An upstream written with the official Python SDK: what stands behind the node in the end-to-end tests.

    upstream_server.py --transport stdio
    upstream_server.py --transport http --port 0     prints its URL as the first line
"""

import argparse
import asyncio
import os
import socket
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel

server = MCPServer("python-upstream", instructions="Tools for tests.")


class Name(BaseModel):
    name: str


async def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two integers."""
    return a + b


@server.tool()
def pid() -> int:
    """The process that serves."""
    return os.getpid()


@server.tool()
def fail(why: str) -> str:
    """Always fails."""
    raise ToolError(why)


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Counts and reports progress."""
    for step in range(1, to + 1):
        await ctx.report_progress(step, to, f"step {step}")
        await asyncio.sleep(0.01)
    return f"counted to {to}"


@server.tool()
async def greet(name: Annotated[Name, Resolve(ask_name)]) -> str:
    """Asks the client's user for a name."""
    return f"Hello, {name.name}!"


@server.tool()
async def sleep(seconds: float) -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return "awake"


@server.tool()
async def log(ctx: Context) -> str:
    """Logs one line at level info, then answers."""
    await ctx.info("a line of log")
    return "logged"


@server.tool()
async def grow(name: str, ctx: Context) -> str:
    """Adds a tool and announces it, in the words of either era."""
    server.add_tool(lambda: name, name=name, description="grown")
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
async def touch(uri: str, ctx: Context) -> str:
    """Says that a resource changed."""
    await ctx.notify_resource_updated(uri)
    return "touched"


@server.resource("note://static")
def static_note() -> str:
    """A note."""
    return "a static note"


@server.resource("note://{id}/text")
def note(id: str) -> str:
    """A note by id."""
    return f"note {id}"


@server.prompt()
def review(code: str) -> str:
    """Asks for a review."""
    return f"Review this: {code}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=["stdio", "http"], default="stdio")
    parser.add_argument("--port", type=int, default=0)
    words = parser.parse_args()
    if words.transport == "stdio":
        server.run("stdio")
        return
    import uvicorn

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", words.port))
    listener.listen(128)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
