"""Listing and calling tools of real MCP servers, of each kind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from shared.schema.mcp import HttpError, McpListToolsTool, McpProtocolError, McpToolExecutionError
from shared.settings import Settings
from tests.mcp_servers import (
    TIKTOKEN,
    calculator,
    documentation_server,
    many_results,
    paging,
    slow_server,
)
from tests.waiting import until
from tests.workers.mcp.reaching import KIND_NAMES, KINDS, reach
from workers.mcp import ServerFailed

of_each_kind = pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)


@of_each_kind
async def test_tools_are_listed_and_called(kind: dict[str, Any]) -> None:
    async with calculator(**kind) as running:
        async with reach(running) as servers:
            add, reset = await servers.list_tools("a")
            assert await servers.call("a", "add", {"a": 2, "b": 40}) == "42"
        assert (add.name, add.description) == ("add", "Adds two numbers.")
        assert add.annotations == {"title": "Add", "readOnlyHint": True, "idempotentHint": True}
        assert reset.annotations == {"readOnlyHint": False, "destructiveHint": True}
        assert set(add.input_schema["properties"]) == {"a", "b"}
        assert running.calls == [("add", {"a": 2, "b": 40})]


async def test_the_announcements_tool() -> None:
    async with documentation_server() as running, reach(running) as servers:
        names = [tool.name for tool in await servers.list_tools("a")]
        assert names == ["fetch_tiktoken_documentation", "search_tiktoken_documentation"]
        assert await servers.call("a", "fetch_tiktoken_documentation", {}) == TIKTOKEN


@of_each_kind
async def test_one_session_is_shared_by_calls_that_run_at_once(kind: dict[str, Any]) -> None:
    async with slow_server(**kind) as running, reach(running) as servers:
        calls = [asyncio.create_task(servers.call("a", "wait", {})) for _ in range(3)]
        await until(lambda: len(running.calls) == 3)
        assert await servers.call("a", "quick", {}) == "quick"
        running.release.set()
        assert await asyncio.gather(*calls) == ["waited"] * 3
        openings = {"initialize", "server/discover"} & set(running.messages)
        assert all(running.messages.count(opening) == 1 for opening in openings)
        assert "tools/list" not in running.messages  # a call needs no list: it may be known from an earlier response


async def test_several_servers() -> None:
    async with calculator() as one, calculator(legacy=True) as other, reach(one, other) as servers:
        answers = await asyncio.gather(
            servers.call("a", "add", {"a": 1, "b": 1}), servers.call("b", "add", {"a": 2, "b": 2})
        )
        assert answers == ["2", "4"]
        assert [len(one.calls), len(other.calls)] == [1, 1]


async def test_nothing_is_opened_before_it_is_used() -> None:
    async with calculator() as running:
        async with reach(running):
            pass
        assert running.requests == []


async def test_whether_a_server_is_old_is_found_out_once() -> None:
    async with calculator(old=True) as running:
        async with reach(running) as servers:
            await servers.list_tools("a")
            await servers.call("a", "add", {"a": 1, "b": 1})
        tried = [request for request in running.requests if request.method == "POST" and request.path == "/sse"]
        assert len(tried) == 2  # the newest version's first message, and that of the versions before
        assert [request.method for request in running.requests].count("GET") == 1


async def test_paged_lists_are_read_to_their_end() -> None:
    async with paging(7, 3) as running, reach(running) as servers:
        assert [tool.name for tool in await servers.list_tools("a")] == [f"tool_{i}" for i in range(7)]
        assert running.messages.count("tools/list") == 3


@pytest.mark.parametrize(("tools", "endless"), [(7, False), (1, True)])
async def test_a_list_that_is_too_long_fails(tools: int, endless: bool) -> None:
    async with (
        paging(tools, 2, endless=endless) as running,
        reach(running, settings=Settings(mcp_max_tools=6)) as servers,
    ):
        with pytest.raises(ServerFailed, match="more than 6 tools") as failed:
            await servers.list_tools("a")
        assert isinstance(failed.value.error, McpProtocolError)
        assert running.messages.count("tools/list") <= 6


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("image", "Here it is:\n\n[image: image/png, 100 bytes]\n\n[audio: audio/wav, 100 bytes]"),
        (
            "resource",
            "All of the text.\n\n[resource: file:///b.bin, application/x-b, 5 bytes]"
            "\n\n[resource: c, https://example.com/c: the third]",
        ),
        ("structured", '{"celsius":21,"place":"Zürich"}'),
        ("both", 'It is warm.\n\n{"celsius":21}'),
        ("repeated", '{"celsius": 21}'),
        ("empty", ""),
    ],
)
async def test_results_become_text(tool: str, text: str) -> None:
    async with many_results() as running, reach(running) as servers:
        assert await servers.call("a", tool, {}) == text


@of_each_kind
async def test_a_tool_that_fails(kind: dict[str, Any]) -> None:
    async with many_results(**kind) as running, reach(running) as servers:
        with pytest.raises(ServerFailed, match="there is no such place") as failed:
            await servers.call("a", "fails", {})
        assert isinstance(failed.value.error, McpToolExecutionError)
        with pytest.raises(ServerFailed) as failed:
            await servers.call("a", "fails_in_parts", {})
        assert failed.value.error == McpToolExecutionError(
            content=[{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
        )
        assert str(failed.value) == "one\n\ntwo"
        assert await servers.call("a", "empty", {}) == ""  # the session goes on


@of_each_kind
async def test_a_result_that_is_too_large(kind: dict[str, Any]) -> None:
    async with many_results(**kind) as running, reach(running, settings=Settings(mcp_max_result_bytes=4096)) as servers:
        assert await servers.call("a", "big", {"size": 4096}) == "é" * 2048
        for size in (4098, 200_000):  # one that is looked at, and one that is not even taken in
            with pytest.raises(ServerFailed, match=r"has more than \d+ bytes") as failed:
                await servers.call("a", "big", {"size": size})
            assert isinstance(failed.value.error, HttpError)
            assert failed.value.error.code == 413
        assert await servers.call("a", "big", {"size": 2}) == "é"


@of_each_kind
async def test_a_server_that_asks_for_input_gets_none(kind: dict[str, Any]) -> None:
    async with many_results(**kind) as running, reach(running) as servers:
        with pytest.raises(ServerFailed):
            await servers.call("a", "asks", {})
        assert await servers.call("a", "empty", {}) == ""


@of_each_kind
async def test_authorization_and_headers_arrive(kind: dict[str, Any]) -> None:
    async with (
        calculator(token="tok-123456", **kind) as running,
        reach(running, authorization="tok-123456", headers={"X-Team": "blue"}) as servers,
    ):
        assert await servers.call("a", "add", {"a": 1, "b": 1}) == "2"
        for request in running.requests:
            assert request.headers["authorization"] == "Bearer tok-123456"
            assert request.headers["x-team"] == "blue"
            assert request.headers["user-agent"] == "llamarelay"


@pytest.mark.parametrize("kind", [{}, {"legacy": True}, {"old": True}], ids=["newest", "with session", "old"])
async def test_a_server_that_was_started_anew_is_called_again(kind: dict[str, Any]) -> None:
    async with calculator(**kind) as first, reach(first) as servers:
        assert await servers.call("a", "add", {"a": 1, "b": 1}) == "2"
        assert first.stop is not None
        await first.stop()
        with pytest.raises(ServerFailed) as failed:
            await servers.call("a", "add", {"a": 1, "b": 1})
        assert isinstance(failed.value.error, HttpError)
        async with calculator(port=first.port, **kind) as second:
            assert await servers.call("a", "add", {"a": 2, "b": 1}) == "3"
            assert second.calls == [("add", {"a": 2, "b": 1})]
            assert ("POST", "/sse") not in [(request.method, request.path) for request in second.requests]


async def test_a_session_that_the_server_forgot_is_made_anew() -> None:
    async with calculator(legacy=True) as first, reach(first) as servers:
        await servers.list_tools("a")
        assert first.stop is not None
        await first.stop()
        async with calculator(port=first.port, legacy=True) as second:
            assert await servers.call("a", "add", {"a": 1, "b": 1}) == "2"
            assert len(second.calls) == 1
            assert "initialize" in second.messages


async def test_a_list_of_tools_in_their_schema() -> None:
    """The struct is the SDK's, field by field."""
    from openai.types.responses.response_output_item import McpListToolsTool as Wire

    assert set(McpListToolsTool.__struct_fields__) == set(Wire.model_fields)


def test_the_sdk_is_loaded_only_when_it_is_needed() -> None:
    """It takes most of a second and 30 MB, which workers without remote MCP need not spend."""
    program = "import sys, workers.mcp; print([name for name in ('mcp', 'httpx2', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
