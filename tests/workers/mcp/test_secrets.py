"""What a request sends to a server (authorization, headers, the path and query of its URL) is shown nowhere."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import msgspec
import pytest

from shared.mcp_hosts import McpHosts
from shared.mcp_server import Server
from shared.settings import Settings
from tests.mcp_servers import Handler, calculator, cut, faulty, hang, many_results, status
from tests.workers.mcp.reaching import KIND_NAMES, KINDS, reach
from workers.mcp import ServerFailed, Servers

TOKEN, KEY, PATH, QUERY = "tok-5ecret-1", "key-5ecret-2", "path-5ecret-3-0123456789", "query-5ecret-4"


def secret_server(url: str) -> Server:
    url = url.removesuffix("/mcp") + f"/{PATH}/mcp?key={QUERY}"
    return Server(label="a", url=url, authorization=TOKEN, headers={"X-Api-Key": KEY})


@pytest.mark.parametrize(
    "answer",
    [
        status(401), status(404), status(500), status(302, Location=f"/{PATH}?key={QUERY}"),
        status(307, Location=f"http://other.example/{PATH}?key={QUERY}"),
        status(200, f'{{"jsonrpc": "2.0", "{TOKEN} {KEY} {PATH} {QUERY}'.encode(), "application/json"),
        status(200, f"data: {TOKEN} {KEY} {PATH} {QUERY}\n\n".encode(), "text/event-stream"),
        status(200, b"", f"text/{TOKEN}"),
        status(200, f'{{"jsonrpc":"2.0","id":0,"error":{{"code":1,"message":"no {TOKEN} {KEY} {PATH} {QUERY}"}}}}'
               .encode(), "application/json"),
        b"", cut, hang,
    ],
)  # fmt: skip
async def test_failures_show_no_secret(
    answer: bytes | Handler, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with faulty(answer) as running:
        server = secret_server(running.url)
        settings = Settings(mcp_connect_seconds=2) if answer is hang else Settings()
        async with Servers([server], settings, McpHosts(["127.0.0.1"])) as servers:
            with pytest.raises(ServerFailed) as failed:
                await servers.list_tools("a")
        assert running.requests[0].headers["authorization"] == f"Bearer {TOKEN}"  # the server was given them
        assert running.requests[0].path == f"/{PATH}/mcp?key={QUERY}"
    shown = [
        *traceback.format_exception(failed.value),
        repr(failed.value.error),
        msgspec.json.encode(failed.value.error).decode(),
        repr(server),
        repr(servers),
        caplog.text,
        *capfd.readouterr(),
    ]
    assert "5ecret" not in "".join(shown)


async def test_refused_addresses_and_headers_show_no_secret() -> None:
    for server in (
        secret_server("http://127.0.0.1:9/mcp"),
        Server(label="a", url=f"https://user:{TOKEN}@8.8.8.8/"),
        Server(label="a", url="http://8.8.8.8/", headers={"X-Key": f"{TOKEN}\n"}),
        Server(label="a", url="http://8.8.8.8/", headers={"Host": TOKEN}),
    ):
        async with Servers([server], Settings(), McpHosts(["public"])) as servers:
            with pytest.raises(ServerFailed, match="not called") as failed:
                await servers.list_tools("a")
        assert "5ecret" not in "".join(traceback.format_exception(failed.value))


@pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
async def test_a_call_logs_nothing(kind: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with calculator(token=TOKEN, **kind) as running:
        caplog.clear()
        async with reach(running, authorization=TOKEN, headers={"X-Key": KEY}) as servers:
            await servers.call("a", "add", {"a": 1, "b": 2})
    others = ("/mcp/server/", "/sse_starlette/", "/uvicorn/", "/asyncio/")  # the server's side
    ours = [record for record in caplog.records if not any(folder in record.pathname for folder in others)]
    assert [(record.name, record.getMessage()) for record in ours] == []
    assert "5ecret" not in caplog.text


async def test_what_a_tool_repeats_of_them_is_left_out() -> None:
    headers = {"X-Api-Key": KEY, "X-Region": "europe"}
    async with many_results() as running, reach(running, authorization=TOKEN, headers=headers) as servers:
        assert await servers.call("a", "echo_headers", {"name": "authorization"}) == "Bearer <redacted>"
        assert await servers.call("a", "echo_headers", {"name": "x-api-key"}) == "<redacted>"
        assert await servers.call("a", "echo_headers", {"name": "x-region"}) == "europe"  # no secret, by its name
