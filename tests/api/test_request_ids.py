"""Request ids: ours on every answer and in every log line of a request, the client's next to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog.testing import LogCapture

from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.waiting import until
from workers.engine.scripted import Script

Lines = list[dict[str, Any]]


@pytest.fixture
def lines() -> Any:
    """Every log line from now on, with the ids bound to it."""
    capture, before = LogCapture(), structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture], cache_logger_on_first_use=False)
    yield capture.entries
    structlog.configure(**before)


async def get(stack: Stack, path: str, **headers: str) -> str:
    """The X-Request-Id of the answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with stack.http.get(stack.url + path, headers=named) as answer:
        return answer.headers["X-Request-Id"]


@pytest.mark.parametrize("header", ["X_Request_Id", "X_Client_Request_Id"])
async def test_a_clients_id_is_logged_next_to_ours(stack: Stack, lines: Lines, header: str) -> None:
    ours = await get(stack, "/v1/models", **{header: "trace-7/a"})
    [line] = [line for line in lines if line.get("request_id") == ours]
    assert (line["client_request_id"], line["path"], line["status"]) == ("trace-7/a", "/v1/models", 200)


@pytest.mark.parametrize("theirs", ["x" * 129, "two words", "a\tb", "", "é"])
async def test_an_odd_id_is_not_logged(stack: Stack, lines: Lines, theirs: str) -> None:
    ours = await get(stack, "/v1/models", X_Request_Id=theirs)
    [line] = [line for line in lines if line.get("request_id") == ours]
    assert "client_request_id" not in line


async def test_a_path_cannot_forge_a_log_line(stack: Stack, lines: Lines) -> None:
    ours = await get(stack, "/v1/x%0Ay%1B[31m?secret=1")
    [line] = [line for line in lines if line.get("request_id") == ours]
    assert line["path"].isprintable()
    assert "secret" not in line["path"]


async def test_the_line_of_a_creation_names_the_response(stack: Stack, lines: Lines) -> None:
    for stream in (False, True):
        await stack.post(input="Hi") if not stream else await stack.stream(input="Hi")
        created = stack.engine.requests[-1].id
        about = lambda created=created: [  # noqa: E731
            line["status"] for line in lines if line.get("response_id") == created and "method" in line
        ]
        await until(lambda about=about: bool(about()))  # type: ignore[misc]  # a stream's is written behind its end
        assert about() == [200]


async def test_every_line_of_a_request_has_its_id(
    stack: Stack, lines: Lines, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RedisError("gone")

    monkeypatch.setattr("api.routes.responses.records.read_response", fails)
    ours = await get(stack, "/v1/responses/resp_1")
    assert [line["event"] for line in lines if line.get("request_id") == ours] == ["redis_failed", "request"]

    async def breaks(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("api.routes.responses.records.read_response", breaks)
    ours = await get(stack, "/v1/responses/resp_1")
    assert [line["event"] for line in lines if line.get("request_id") == ours] == ["request_failed", "request"]


async def test_a_client_that_leaves_is_logged_as_such(make_stack: StackFactory, lines: Lines) -> None:
    stack = await make_stack()
    stack.engine.play(Script("a", asyncio.Event(), "b"))
    task = asyncio.create_task(stack.post(input="Hi"))
    await until(lambda: stack.engine.stats.running == 1)
    task.cancel()
    await until(lambda: any(line.get("status") == 499 for line in lines))


@pytest.mark.parametrize("resumed", [False, True])
async def test_a_client_that_leaves_with_the_last_event_has_been_answered(
    stack: Stack, lines: Lines, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    """As the Codex CLI does: it closes the connection on the terminal event, whatever the server still has to do."""
    _, first = await stack.post(input="Hi")
    before = len(lines)
    left = asyncio.Event()

    async def never(_: web.StreamResponse, __: bytes = b"") -> None:
        left.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(web.StreamResponse, "write_eof", never)
    url = f"{stack.url}/v1/responses"
    body = {"model": MODEL, "input": "Hi", "stream": True}
    request = stack.http.get(f"{url}/{first['id']}?stream=true") if resumed else stack.http.post(url, json=body)
    async with request as answer:
        async for line in answer.content:
            if line.startswith(b"event: response.completed"):
                break
        await left.wait()
        answer.close()
    await until(lambda: any(line["event"] == "request" for line in lines[before:]))
    assert [line["status"] for line in lines[before:] if line["event"] == "request"] == [200]
