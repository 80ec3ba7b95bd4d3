"""A remote MCP server under fire, and the proof of what its tools promise: a call that had ended is not made twice, and
one that was running is made again only where the server says that this is harmless."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.mcpserver import MCPServer

from tests.chaos.kinds import HANDOVERS, PAUSES
from tests.chaos.story import Event, Story, Violation
from tests.mcp_servers import Running, serve
from tests.proxy import Proxy

LABEL = "bench"
SECONDS = 0.6  # how long a tool runs, so that faults meet it
SETTINGS = {"ALLOW_REMOTE_MCP": "1", "MCP_ALLOWED_HOSTS": "127.0.0.1", "ENCRYPTION_KEY": "a key for chaos"}

_KEY = re.compile(r"~[0-9a-f]*")  # perhaps cut off
_LOST = "The worker was lost while the tool ran."

FaultsSince = Callable[[float, Collection[str]], int]


def new_key() -> str:
    """What tells the calls of one response from all others."""
    return f"~{secrets.token_hex(5)}"


def with_key(text: str, key: str) -> str:
    return _KEY.sub(key, text)


def without_keys(text: str) -> str:
    """The same text for every key, as far as it goes."""
    return _KEY.sub(lambda found: "*" * len(found[0]), text)


class Tools:
    """`look` (read-only) and `change` (not): what was called with which key, and when; and what streams said of it."""

    def __init__(self) -> None:
        self.url = ""
        self.proxy: Proxy | None = None  # on the workers' way to the server
        self.begun: dict[tuple[str, str], list[float]] = defaultdict(list)  # by tool and key
        self.outcomes: Counter[str] = Counter()
        self._told: dict[tuple[str, str], tuple[float, Story]] = {}  # when a stream said that the call had ended
        self._posts: dict[str, int] = {}  # how often a request was sent that has no idempotency key

    @property
    def made(self) -> int:
        return sum(map(len, self.begun.values()))

    @property
    def again(self) -> int:
        """Calls beyond the first with the same key."""
        return self.made - len(self.begun)

    async def run(self, name: str, key: str) -> str:
        self.begun[name, key].append(time.monotonic())
        await asyncio.sleep(SECONDS)
        return f"{name} {key}"

    def take(self, story: Story, faults_since: FaultsSince) -> None:
        """Judges the remote calls of a response that has ended, by its stream. Raises Violation."""
        for at, event in enumerate(story.events()):
            item: Event = event.get("item") or {}
            if event["type"] != "response.output_item.done" or item["type"] != "mcp_call":
                continue
            self.outcomes[item["status"]] += 1
            if item["status"] == "incomplete":
                continue  # cancelled: nobody knows whether it has run
            called = item["name"], str(json.loads(item["arguments"])["key"])
            self._told[called] = story.arrivals[at], story
            self._posts[called[1]] = max(story.posts, 1)
            if item["status"] == "completed":
                if item["output"] != " ".join(called):
                    raise Violation(f"the tool said something else than {item['output']!r}", story)
                if not self.begun[called]:
                    raise Violation(f"{called} was never called", story)
            elif called[0] != "change" or not str((item["error"] or {}).get("message")).startswith(_LOST):
                raise Violation(f"the call failed: {item['error']}", story)
            elif not faults_since(story.began, HANDOVERS):
                raise Violation("a call was lost, although no worker was", story)

    def check(self, faults_since: FaultsSince) -> None:
        """Judges all calls, when nothing runs any more. Raises Violation."""
        for (name, key), moments in self.begun.items():
            told = self._told.get((name, key))
            if told is None:
                continue  # its stream was cut, or its response cancelled
            ended, story = told
            if name == "change" and len(moments) > self._posts[key]:
                raise Violation(f"{name} was called {len(moments)} times with {key}", story)
            late = [moment for moment in moments if moment > ended]
            # a worker that was paused before its request was sent sends it when it goes on: that cannot be helped
            if late and not faults_since(story.began, PAUSES):
                raise Violation(f"{name} was called with {key} {late[0] - ended:.2f} s after it had ended", story)


@asynccontextmanager
async def tools_server() -> AsyncIterator[Tools]:
    """A real server of the SDK, in this process, behind a proxy."""
    tools = Tools()
    server = MCPServer(LABEL, log_level="ERROR")

    @server.tool(structured_output=False, annotations=types.ToolAnnotations(read_only_hint=True))
    async def look(key: str) -> str:
        """Looks something up."""
        return await tools.run("look", key)

    @server.tool(structured_output=False, annotations=types.ToolAnnotations(read_only_hint=False))
    async def change(key: str) -> str:
        """Changes something for good."""
        return await tools.run("change", key)

    running = Running("")
    # a connection that the server closes while the proxy holds back a request on it would be a broken one
    async with serve(server, running, keep_alive=600), Proxy(running.port) as proxy:
        tools.proxy = proxy
        tools.url = f"http://127.0.0.1:{proxy.port}/mcp"
        yield tools


def tool(url: str) -> dict[str, Any]:
    return {"type": "mcp", "server_label": LABEL, "server_url": url}
