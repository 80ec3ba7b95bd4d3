"""Where connections go: to the checked addresses of the named server, and nowhere else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.schema.mcp import HttpError
from shared.settings import Settings
from tests.certificates import certificate
from tests.mcp_servers import calculator, faulty, status
from workers.mcp import Room, ServerFailed, Servers, transport
from workers.mcp.trace import Trace


def named(running_url: str, host: str) -> str:
    return running_url.replace("127.0.0.1", host)


async def test_a_second_answer_of_the_resolver_is_never_used() -> None:
    answers = [["127.0.0.1"], ["127.0.0.99"], ["127.0.0.99"]]
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers.pop(0)

    hosts = McpHosts(["tools.example"], resolve)
    async with calculator() as running:
        other: list[int] = []
        trap = await asyncio.start_server(lambda r, w: other.append(1), "127.0.0.99", running.port)
        async with trap, Servers([Server(label="a", url=named(running.url, "tools.example"))], Settings(), hosts) as it:
            await it.list_tools("a")
            assert running.stop is not None
            await running.stop()  # so that connections have to be made again
            for _ in range(2):
                with pytest.raises(ServerFailed):
                    await it.call("a", "add", {"a": 1, "b": 1})
            async with calculator(port=running.port) as again:
                assert await it.call("a", "add", {"a": 1, "b": 1}) == "2"
                assert again.requests[0].headers["host"] == f"tools.example:{running.port}"
        assert asked == ["tools.example"]
        assert other == []


async def test_a_name_that_turns_private_is_still_reached_at_its_public_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [["8.8.8.8", "8.8.4.4"], ["127.0.0.1"]]
    reached: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async def connect(self: object, request: httpx2.Request) -> httpx2.Response:
        reached.append(request.url.host)
        assert request.headers["host"] == f"rebind.example:{running.port}"
        raise httpx2.ConnectError("no network here")

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", connect)
    async with calculator() as running:
        given = [Server(label="a", url=named(running.url, "rebind.example"))]
        async with Servers(given, Settings(), McpHosts(["public"], resolve)) as servers:
            for _ in range(2):
                with pytest.raises(ServerFailed, match="cannot be reached"):
                    await servers.list_tools("a")
        assert set(reached) == {"8.8.8.8", "8.8.4.4"}
        assert running.requests == []


async def test_the_next_address_is_tried() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.98", "127.0.0.1"]

    async with calculator() as running:
        given = [Server(label="a", url=named(running.url, "two.example"))]
        async with Servers(given, Settings(), McpHosts(["two.example"], resolve)) as servers:
            assert await servers.call("a", "add", {"a": 1, "b": 2}) == "3"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/mcp", "http://169.254.169.254/latest", "file:///etc/passwd", "http://0x7f.1/"]
)
async def test_servers_that_are_not_allowed_are_not_called(url: str) -> None:
    async with Servers([Server(label="a", url=url)], Settings(), McpHosts(["public"])) as servers:
        with pytest.raises(ServerFailed, match="not called") as failed:
            await servers.call("a", "x", {})
        assert isinstance(failed.value.error, HttpError)
        assert failed.value.error.code == 403


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_to_another_origin_are_not_followed(code: int) -> None:
    async with calculator() as victim:
        for there in (
            victim.url,
            f"http://localhost:{victim.port}/mcp",
            "http://169.254.169.254/",
            "file:///etc/passwd",
        ):
            async with faulty(status(code, b"", Location=there)) as running:
                hosts = McpHosts([f"127.0.0.1:{running.port}", "127.0.0.1", "localhost"])
                given = [Server(label="a", url=running.url, authorization="tok-123456")]
                async with Servers(given, Settings(), hosts) as servers:
                    with pytest.raises(ServerFailed, match="redirects") as failed:
                        await servers.list_tools("a")
                    assert isinstance(failed.value.error, HttpError)
                    assert failed.value.error.code == code
        assert victim.requests == []


@pytest.mark.parametrize("old", [False, True])
async def test_redirects_within_the_origin_are_followed(old: bool) -> None:
    async with calculator(old=old) as running:
        given = [Server(label="a", url=f"{running.url}/")]  # the server knows the path without the slash
        async with Servers(given, Settings(), McpHosts(["127.0.0.1"])) as servers:
            assert await servers.call("a", "add", {"a": 1, "b": 2}) == "3"


async def test_an_old_server_cannot_send_the_client_elsewhere() -> None:
    async with calculator() as victim:
        event = f"event: endpoint\ndata: {victim.url}\n\n".encode()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if running.requests[-1].method == "POST":
                writer.write(status(405))
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event)
                await writer.drain()
                await reader.read()

        async with faulty(answer) as running:
            given = [Server(label="a", url=running.url, authorization="tok-123456")]
            async with Servers(given, Settings(mcp_connect_seconds=0.5), McpHosts(["127.0.0.1"])) as servers:
                with pytest.raises(ServerFailed):
                    await servers.list_tools("a")
        assert victim.requests == []


async def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with calculator() as running, faulty(status(502)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with Servers([Server(label="a", url=running.url)], Settings(), McpHosts(["127.0.0.1"])) as servers:
            assert await servers.call("a", "add", {"a": 1, "b": 2}) == "3"
        assert proxy.requests == []


@pytest.mark.parametrize(("host", "trusted"), [("tools.example", True), ("other.example", False)])
async def test_tls_is_checked_for_the_name(
    host: str, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, chain, key = certificate(tmp_path, "tools.example")
    monkeypatch.setattr(transport, "certificates", lambda: ssl.create_default_context(cafile=authority))

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with calculator(tls=(chain, key)) as running:
        given = [Server(label="a", url=named(running.url, host))]
        async with Servers(given, Settings(), McpHosts(["*.example"], resolve)) as servers:
            if trusted:
                assert await servers.call("a", "add", {"a": 1, "b": 2}) == "3"
            else:
                with pytest.raises(ServerFailed, match="certificate"):
                    await servers.call("a", "add", {"a": 1, "b": 2})
                assert running.requests == []


async def test_an_authority_that_is_not_known(tmp_path: Path) -> None:
    _, chain, key = certificate(tmp_path, "localhost")
    async with calculator(tls=(chain, key)) as running:
        given = [Server(label="a", url=named(running.url, "localhost"))]
        async with Servers(given, Settings(), McpHosts(["localhost"])) as servers:
            with pytest.raises(ServerFailed, match="certificate"):
                await servers.list_tools("a")


async def test_requests_to_another_origin_are_not_sent_whoever_makes_them() -> None:
    async with calculator() as running:
        target = await McpHosts(["127.0.0.1"]).check(running.url)
        pinned = transport.PinnedTransport(target, Trace(), seconds=5, max_body=1000, old=False, turn=Room(0).turn)
        async with httpx2.AsyncClient(transport=pinned) as client:
            assert (await client.get(running.url)).status_code not in (403, 502)
            for url in (
                f"http://localhost:{running.port}/mcp",
                f"https://127.0.0.1:{running.port}/mcp",
                "http://127.0.0.1:1/mcp",
            ):
                answer = await client.get(url)
                assert answer.status_code == 403
                assert "another origin" in answer.text
        assert len(running.requests) == 1
