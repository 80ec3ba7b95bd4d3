"""Servers that fail, hang, answer nonsense or vanish: each ends as ServerFailed, soon, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.schema.mcp import HttpError, McpProtocolError
from shared.settings import Settings
from tests.mcp_servers import Handler, calculator, cut, faulty, flood, hang, slow_server, status
from tests.waiting import until
from tests.workers.mcp.reaching import KIND_NAMES, KINDS, reach
from workers.mcp import ServerFailed, Servers, connection

of_each_kind = pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
# the SDK's server does not see that a client has left whom it owes JSON
of_each_that_notices = pytest.mark.parametrize("kind", [KINDS[0], *KINDS[2:]], ids=[KIND_NAMES[0], *KIND_NAMES[2:]])
SOON = Settings(mcp_connect_seconds=1, mcp_list_seconds=1, mcp_call_seconds=1)
PATIENT = Settings(mcp_connect_seconds=300, mcp_list_seconds=300)

RPC_ERROR = b'{"jsonrpc":"2.0","id":0,"error":{"code":-32050,"message":"no tools today"}}'


UNREAD = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32050,"message":"no tools today"}}'
OTHERS = b'{"jsonrpc":"2.0","id":977,"result":{}}'
NEWS = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}'
QUESTION = b'{"jsonrpc":"2.0","id":0,"method":"ping"}'


def json_status(code: int, body: bytes) -> bytes:
    return status(code, body, "application/json")


@pytest.mark.parametrize(
    ("answer", "kind", "code", "message"),
    [
        (status(401), HttpError, 401, "asks for an authorization"),
        (status(403), HttpError, 403, "does not allow it"),
        (status(404), HttpError, 404, "no MCP server at this address"),
        (status(405), HttpError, 405, "status 405"),
        (status(429), HttpError, 429, "status 429"),
        (status(500), HttpError, 500, "status 500"),
        (json_status(503, b'{"detail": "closed"}'), HttpError, 503, "status 503"),
        (json_status(401, RPC_ERROR), HttpError, 401, "authorization"),
        (json_status(200, RPC_ERROR), McpProtocolError, -32050, "no tools today"),
        (json_status(500, RPC_ERROR), McpProtocolError, -32050, "no tools today"),
        (json_status(200, UNREAD), McpProtocolError, -32050, "no tools today"),
        (json_status(200, OTHERS), HttpError, 502, "no answer to this request"),
        (json_status(200, NEWS), HttpError, 502, "no answer to this request"),
        (json_status(200, QUESTION), HttpError, 502, "no answer to this request"),
        (json_status(200, b'{"jsonrpc": '), McpProtocolError, -32700, "not JSON-RPC"),
        (json_status(200, b"[]"), McpProtocolError, -32700, "not JSON-RPC"),
        (json_status(200, b"\xff\xfe"), McpProtocolError, -32700, "not JSON-RPC"),
        (status(200, b"<html>", "text/html"), McpProtocolError, -32600, "Unexpected content type: text/html"),
        (status(202, b""), McpProtocolError, -32600, "202"),
        (status(200, b"data: {\n\n", "text/event-stream"), McpProtocolError, -32700, "not JSON-RPC"),
        (status(200, b"", "text/event-stream"), HttpError, 502, "ended the connection without an answer"),
        (status(200, b"x", "application/json", Content_Encoding="gzip"), HttpError, 502, "compressed"),
        (b"nonsense\r\n\r\n", HttpError, 502, "connection to the server broke"),
        (b"", HttpError, 502, "connection to the server broke"),
        (cut, HttpError, 502, "connection to the server broke"),
        (hang, HttpError, 504, "did not open a session within 1 s"),
        (status(302, Location="/other"), HttpError, 302, "redirects"),
    ],
)
async def test_a_server_that_cannot_be_opened(
    answer: bytes | Handler, kind: type[HttpError | McpProtocolError], code: int, message: str
) -> None:
    async with faulty(answer) as running:
        async with reach(running, settings=SOON if answer is hang else Settings()) as servers:
            for attempt in (servers.list_tools, lambda label: servers.call(label, "x", {})):
                with pytest.raises(ServerFailed, match=message) as failed:
                    await attempt("a")
                assert isinstance(failed.value.error, kind)
                assert failed.value.error.code == code
        await until(lambda: running.open_requests == 0)


def answering_calls(answer: bytes) -> Callable[[ASGIApp], ASGIApp]:
    """What has a server answer calls so, whatever they are."""

    def around(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            if dict(scope.get("headers", ())).get(b"mcp-method") != b"tools/call":
                await app(scope, receive, send)
                return
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})

        return layer

    return around


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (UNREAD, McpProtocolError, "no tools today"),
        (UNREAD.replace(b"no tools", b"no s3cret-7"), McpProtocolError, "no <redacted> today"),
        (UNREAD.replace(b"-32050", b'"x"'), McpProtocolError, "not JSON-RPC"),
        (UNREAD.replace(b"-32050", b"1" * 30), McpProtocolError, "no tools today"),
        (OTHERS, HttpError, "no answer to this request"),
        (OTHERS.replace(b"977", b"null"), HttpError, "no answer to this request"),
        (NEWS, HttpError, "no answer to this request"),
        (b"{}", HttpError, "no answer to this request"),
        (b"", McpProtocolError, "not JSON-RPC"),
        (b"[" * 10_000, McpProtocolError, "not JSON-RPC"),
    ],
)
async def test_a_call_does_not_wait_for_an_answer_that_cannot_come(
    answer: bytes, kind: type[HttpError | McpProtocolError], message: str
) -> None:
    """The answer has ended, and was none to the call. The session goes on."""
    async with (
        calculator(wrap=answering_calls(answer)) as running,
        reach(running, authorization="s3cret-7") as servers,
        asyncio.timeout(30),
    ):
        await servers.list_tools("a")
        with pytest.raises(ServerFailed, match=message) as failed:
            await servers.call("a", "add", {"a": 1, "b": 1})
        assert isinstance(failed.value.error, kind)
        assert len(await servers.list_tools("a")) == 2
        assert running.messages.count("server/discover") == 1


async def test_an_answer_that_spells_its_id_as_text() -> None:
    def spelling(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            async def spelled(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [one for one in message["headers"] if one[0] != b"content-length"]
                elif message["type"] == "http.response.body":
                    message["body"] = re.sub(rb'"id":(\d+)', rb'"id":"\1"', message["body"])
                await send(message)

            await app(scope, receive, spelled)

        return layer

    async with calculator(json_response=True, wrap=spelling) as running, reach(running) as servers:
        assert await servers.call("a", "add", {"a": 1, "b": 1}) == "2"


async def test_a_body_without_an_end_is_not_taken_in() -> None:
    async with faulty(flood) as running, reach(running, settings=Settings(mcp_max_result_bytes=1000)) as servers:
        with pytest.raises(ServerFailed, match="has more than 69536 bytes") as failed:
            await servers.list_tools("a")
        assert failed.value.error == HttpError(code=413, message=str(failed.value))


async def test_nobody_listens() -> None:
    async with calculator() as running:
        pass
    async with reach(running) as servers:
        with pytest.raises(ServerFailed, match="cannot be reached") as failed:
            await servers.list_tools("a")
        assert failed.value.error == HttpError(code=502, message="The server cannot be reached.")


async def test_a_server_that_does_not_take_connections() -> None:
    with socket_that_takes_nobody() as port:
        servers = Servers([Server(label="a", url=f"http://127.0.0.1:{port}/mcp")], SOON, McpHosts(["127.0.0.1"]))
        async with servers:
            with pytest.raises(ServerFailed) as failed:
                await servers.list_tools("a")
            assert isinstance(failed.value.error, HttpError)
            assert failed.value.error.code == 504


class socket_that_takes_nobody:  # noqa: N801  a context manager
    """A listening port whose queue of connections is full."""

    def __enter__(self) -> int:
        import socket

        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.waiting = []
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(self.listener.getsockname())
            self.waiting.append(waiting)
        return int(self.listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        for each in (*self.waiting, self.listener):
            each.close()


@of_each_that_notices
async def test_a_call_that_takes_too_long(kind: dict[str, Any]) -> None:
    async with slow_server(**kind) as running, reach(running, settings=Settings(mcp_call_seconds=2)) as servers:
        await servers.list_tools("a")
        with pytest.raises(ServerFailed, match="did not answer within 2 s") as failed:
            await servers.call("a", "wait", {})
        assert isinstance(failed.value.error, HttpError)
        assert failed.value.error.code == 504
        async with asyncio.timeout(30):
            await running.cancelled.wait()  # the server was told
        assert await servers.call("a", "quick", {}) == "quick"  # on the same session
        assert running.messages.count("initialize") <= 1


@of_each_that_notices
async def test_a_cancelled_call_is_cancelled_at_the_server(kind: dict[str, Any]) -> None:
    async with slow_server(**kind) as running, reach(running) as servers:
        await servers.list_tools("a")
        before = running.open_requests
        call = asyncio.create_task(servers.call("a", "wait", {}))
        async with asyncio.timeout(30):
            await running.started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(30):
            await running.cancelled.wait()
        await until(lambda: running.open_requests <= before)  # its HTTP request has ended too
        assert await servers.call("a", "quick", {}) == "quick"


async def test_a_cancelled_call_ends_its_http_request_though_the_server_takes_no_notice() -> None:
    def deaf(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            first = await receive()
            if b"notifications/cancelled" in first.get("body", b""):
                await send({"type": "http.response.start", "status": 202, "headers": []})
                await send({"type": "http.response.body"})
                return
            messages = [first]

            async def replay() -> Message:
                return messages.pop() if messages else await receive()

            await app(scope, replay, send)

        return layer

    async with slow_server(legacy=True, wrap=deaf) as running, reach(running) as servers:
        await servers.list_tools("a")
        before = running.open_requests
        call = asyncio.create_task(servers.call("a", "wait", {}))
        async with asyncio.timeout(30):
            await running.started.wait()
        call.cancel()
        await asyncio.wait({call})
        await until(lambda: running.open_requests <= before)
        await until(lambda: "notifications/cancelled" in running.messages)
        assert not running.cancelled.is_set()
        assert await servers.call("a", "quick", {}) == "quick"


@of_each_kind
async def test_a_server_that_is_gone_in_the_middle_of_a_call(kind: dict[str, Any]) -> None:
    async with slow_server(**kind) as running, reach(running) as servers:
        calls = [asyncio.create_task(servers.call("a", "wait", {})) for _ in range(2)]
        await until(lambda: len(running.calls) == 2)
        assert running.stop is not None
        await running.stop()
        async with asyncio.timeout(30):
            results = await asyncio.gather(*calls, return_exceptions=True)
        for result in results:
            assert isinstance(result, ServerFailed), result
            assert isinstance(result.error, HttpError)
            assert result.error.code == 502


async def test_one_failing_call_leaves_the_others_alone() -> None:
    failing = [status(500), cut, b""]

    def breaking(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            if dict(scope.get("headers", [])).get(b"mcp-name") == b"quick" and failing:
                failing.pop()
                await send({"type": "http.response.start", "status": 500, "headers": []})
                await send({"type": "http.response.body"})
                return
            await app(scope, receive, send)

        return layer

    async with slow_server(wrap=breaking) as running, reach(running) as servers:
        wait = asyncio.create_task(servers.call("a", "wait", {}))
        await until(lambda: len(running.calls) == 1)
        while failing:
            with pytest.raises(ServerFailed, match="status 500"):
                await servers.call("a", "quick", {})
        assert await servers.call("a", "quick", {}) == "quick"
        running.release.set()
        assert await wait == "waited"


@of_each_kind
async def test_closing_ends_calls_that_run(kind: dict[str, Any]) -> None:
    async with slow_server(**kind) as running:
        async with reach(running) as servers:
            call = asyncio.create_task(servers.call("a", "wait", {}))
            async with asyncio.timeout(30):
                await running.started.wait()
        with pytest.raises(ServerFailed):
            await call
        with pytest.raises(ServerFailed):
            await servers.call("a", "quick", {})


async def test_leaving_does_not_wait_for_a_server_that_hangs() -> None:
    async with faulty(hang) as running:
        async with reach(running, settings=PATIENT) as servers:
            listing = asyncio.create_task(servers.list_tools("a"))
            async with asyncio.timeout(30):
                await running.started.wait()
        async with asyncio.timeout(30):
            with pytest.raises(ServerFailed):
                await listing
            await until(lambda: running.open_requests == 0)


async def test_leaving_does_not_wait_for_a_session_that_cannot_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLOSING_SECONDS", 0.1)
    ending = asyncio.Event()

    def hanging(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope.get("method") == "DELETE":
                ending.set()
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
            await app(scope, receive, send)

        return layer

    async with calculator(legacy=True, wrap=hanging) as running:
        async with asyncio.timeout(30), reach(running) as servers:
            await servers.list_tools("a")
        assert ending.is_set()
        assert not owners()


async def test_an_old_server_that_refuses_a_call_is_not_waited_for() -> None:
    broken: list[bool] = []

    def refusing(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope.get("path", "").startswith("/messages") and broken:
                await send({"type": "http.response.start", "status": 500, "headers": []})
                await send({"type": "http.response.body"})
                return
            await app(scope, receive, send)

        return layer

    async with calculator(old=True, wrap=refusing) as running, reach(running) as servers:
        await servers.list_tools("a")
        broken.append(True)
        async with asyncio.timeout(30):
            with pytest.raises(ServerFailed, match="status 500"):
                await servers.call("a", "add", {"a": 1, "b": 1})
        broken.clear()
        assert await servers.call("a", "add", {"a": 1, "b": 1}) == "2"


async def test_nothing_is_left_behind() -> None:
    """Neither tasks nor sockets, however it ended."""
    async with calculator() as running, reach(running) as servers:
        await servers.list_tools("a")  # what is loaded once is loaded
    await until(lambda: not owners())
    gc.collect()
    before = sockets()
    for answer in (status(500), b"", cut, hang, status(200, b"{", "application/json")):
        async with faulty(answer) as broken, reach(broken, settings=SOON) as servers:
            with pytest.raises(ServerFailed):
                await servers.list_tools("a")
    for kind in KINDS:
        async with slow_server(**kind) as running, reach(running) as servers:
            calls = [asyncio.create_task(servers.call("a", "wait", {})) for _ in range(4)]
            await until(lambda running=running: len(running.calls) == 4)
            for call in calls[:2]:
                call.cancel()
            running.release.set()
            await asyncio.gather(*calls, return_exceptions=True)
    assert not owners()
    await until(lambda: sockets() <= before)


def owners() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("mcp ")]


def sockets() -> int:
    folder = "/proc/self/fd"
    found = 0
    for name in os.listdir(folder):
        try:
            found += os.readlink(f"{folder}/{name}").startswith("socket:")
        except OSError:
            continue
    return found
