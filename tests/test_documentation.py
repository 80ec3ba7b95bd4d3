"""The programs of the documentation run as they stand, but for addresses: each document's, one behind the other."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from tests.api.test_remote_tools import call_of, qwen
from tests.e2e.server import Up
from tests.mcp_servers import Running, serve
from tests.stack import Stack
from workers.engine.scripted import Script

__all__ = ["qwen"]

PROGRAM = re.compile(r"^```python\n(.+?)^```$", re.MULTILINE | re.DOTALL)
WEB = "http://127.0.0.1:8080/v1"
SERVER = "https://tickets.example.com/mcp"


def programs(document: Path) -> list[str]:
    return PROGRAM.findall(document.read_text())


async def run(program: str, url: str, folder: Path, server: str = "") -> list[str]:
    """What it prints, by lines."""
    assert WEB in program
    source = program.replace(WEB, url + "/v1").replace(SERVER, server)
    environ = {**os.environ, "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", source),
        cwd=folder,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    return printed.decode().splitlines()


@pytest.fixture
async def tickets() -> AsyncIterator[Running]:
    """The server of docs/mcp.md: it wants the token that is written there, or none."""
    server, running = MCPServer("tickets", log_level="ERROR"), Running("")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True), structured_output=False)
    def read_ticket(number: int) -> str:
        """Reads a ticket."""
        running.calls.append(("read_ticket", {"number": number}))
        return "The printer is on fire."

    async with serve(server, running):
        yield running


def test_no_program_is_left_out(repository: Path) -> None:
    """A new document with programs needs a test below."""
    documents = [repository / "README.md", *(repository / "docs").glob("*.md")]
    assert {document.name: len(found) for document in documents if (found := programs(document))} == {
        "README.md": 1,
        "tools.md": 3,
        "mcp.md": 5,
    }


async def test_readme(up: Up, repository: Path, tmp_path: Path) -> None:
    [program] = programs(repository / "README.md")
    first, second = await run(program, up.url, tmp_path)
    assert first
    assert second


async def test_tools(qwen: Stack, repository: Path, tmp_path: Path) -> None:
    qwen.engine.play(
        Script(*call_of("get_weather", '{"location": "Rome"}')),
        Script("It is 18 degrees in Rome."),
        Script('{"name": "Bob", "age": 42}'),
    )
    printed = await run("\n".join(programs(repository / "docs" / "tools.md")), qwen.url, tmp_path)
    assert printed == ["It is 18 degrees in Rome.", "name='Bob' age=42"]
    assert '{"temperature": 18}' in qwen.engine.text(qwen.engine.requests[1].tokens)


async def test_mcp_with_the_sdk_and_approvals(qwen: Stack, tickets: Running, repository: Path, tmp_path: Path) -> None:
    call = call_of("read_ticket", '{"number": 7}')
    qwen.engine.play(Script(*call), Script("A fire."), Script(*call), Script("Still a fire."))
    sdk, _, always, approval, _ = programs(repository / "docs" / "mcp.md")
    printed = await run("\n".join((sdk, always, approval)), qwen.url, tmp_path, tickets.url)
    assert printed == ["A fire.", 'read_ticket {"number": 7}', "Still a fire."]
    assert tickets.calls == [("read_ticket", {"number": 7})] * 2
    headers = [request.headers for request in tickets.requests if request.messages == ["tools/call"]]
    assert [(each["authorization"], each["x-team"]) for each in headers] == [("Bearer ACCESS_TOKEN", "support")] * 2


async def test_mcp_with_agents(qwen: Stack, tickets: Running, repository: Path, tmp_path: Path) -> None:
    qwen.engine.play(Script(*call_of("read_ticket", '{"number": 7}')), Script("A fire."))
    program = programs(repository / "docs" / "mcp.md")[1]
    assert await run(program, qwen.url, tmp_path, tickets.url) == ["A fire."]
    assert tickets.calls == [("read_ticket", {"number": 7})]


async def test_mcp_with_agents_and_approvals(qwen: Stack, tickets: Running, repository: Path, tmp_path: Path) -> None:
    qwen.engine.play(Script(*call_of("read_ticket", '{"number": 7}')), Script("A fire."))
    program = programs(repository / "docs" / "mcp.md")[4]
    assert await run(program, qwen.url, tmp_path, tickets.url) == ['read_ticket {"number": 7}', "A fire."]
    assert tickets.calls == [("read_ticket", {"number": 7})]
