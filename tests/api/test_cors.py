"""Browser clients: who may call, what a page may read, and that nobody gets credentials by `*`."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.wire import check_stream, parse_sse

PAGE = "https://app.example.com"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


async def call(stack: Stack, method: str, path: str, headers: dict[str, str], **options: Any) -> tuple[int, Any]:
    async with stack.http.request(method, stack.url + path, headers=headers, **options) as answer:
        await answer.read()
        return answer.status, answer.headers


async def test_without_the_setting_no_page_may_call(stack: Stack) -> None:
    status, headers = await call(stack, "OPTIONS", "/v1/responses", PREFLIGHT)
    assert status == 405
    _, more = await call(stack, "GET", "/v1/models", {"Origin": PAGE})
    assert not [name for name in (*headers, *more) if name.startswith("Access-Control")]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/resp_1", "/v1/responses/resp_1/cancel", "/v1/models"])
async def test_a_preflight_is_answered_with_the_headers_it_asks_for(make_stack: StackFactory, path: str) -> None:
    stack = await make_stack(workers=0, cors_origins=("https://other.example.com", PAGE + "/"))
    status, headers = await call(stack, "OPTIONS", path, PREFLIGHT)
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert headers["Access-Control-Allow-Headers"] == PREFLIGHT["Access-Control-Request-Headers"]
    assert {"GET", "POST", "DELETE"} <= set(headers["Access-Control-Allow-Methods"].split(", "))
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert int(headers["Access-Control-Max-Age"]) > 0
    assert "Origin" in headers["Vary"]


async def test_other_origins_are_not_let_in(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0, cors_origins=(PAGE,))
    for origin in ("https://evil.example.com", PAGE + ".evil.com", "null", "http://app.example.com"):
        status, headers = await call(stack, "OPTIONS", "/v1/responses", {**PREFLIGHT, "Origin": origin})
        assert status == 405
        assert "Access-Control-Allow-Origin" not in headers
        _, headers = await call(stack, "GET", "/v1/models", {"Origin": origin})
        assert "Access-Control-Allow-Origin" not in headers
        assert "Origin" in headers["Vary"]  # a cache must not give this answer to another origin


async def test_a_star_lets_all_in_but_never_with_credentials(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0, cors_origins=("*", PAGE))
    for method, path, sent in (("OPTIONS", "/v1/responses", PREFLIGHT), ("GET", "/v1/models", {"Origin": PAGE})):
        _, headers = await call(stack, method, path, sent)
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in headers


async def test_answers_errors_and_streams_can_be_read_by_the_page(make_stack: StackFactory) -> None:
    stack = await make_stack(cors_origins=(PAGE,))
    for method, path, body, expected in (
        ("POST", "/v1/responses", {"model": MODEL, "input": "Hi"}, 200),
        ("POST", "/v1/responses", {"model": MODEL}, 400),
        ("GET", "/v1/responses/resp_none", None, 404),
        ("GET", "/nowhere", None, 404),
    ):
        status, headers = await call(stack, method, path, {"Origin": PAGE}, json=body)
        assert status == expected
        assert headers["Access-Control-Allow-Origin"] == PAGE
        assert "X-Request-Id" in headers["Access-Control-Expose-Headers"]
    body = {"model": MODEL, "input": "Hi", "stream": True}
    async with stack.http.post(stack.url + "/v1/responses", json=body, headers={"Origin": PAGE}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
        check_stream(parse_sse(await answer.read()))


async def test_pages_that_may_call_may_open_a_websocket(make_stack: StackFactory) -> None:
    stack = await make_stack(cors_origins=(PAGE,))
    async with stack.http.ws_connect(stack.url + "/v1/responses", origin=PAGE) as socket:
        await socket.send_json({"type": "response.create", "model": MODEL, "input": "Hi"})
        assert (await socket.receive_json())["type"] == "response.created"
    with pytest.raises(WSServerHandshakeError):
        await stack.http.ws_connect(stack.url + "/v1/responses", origin="https://evil.example.com")
