"""Whatever a client sends: no 5xx, no hang, every refusal in the envelope, and the next good request works.

FUZZ_EXAMPLES=5000 looks longer, at other bodies each time; without it the same few thousand bodies are sent.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import re
import zlib
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientResponse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from yarl import URL

from tests.api.bodies import BODIES, EXTREMES, VALID, encode
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.wire import parse_sse
from workers.engine.scripted import ScriptedEngine

CREATING = ("/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact", "/v1/conversations")
"""Endpoints that take a body."""

USER = {"role": "user", "content": "Hi"}
LONGEST_SECONDS = 60.0
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
AT_ONCE = 5  # bodies of one example

pytestmark = pytest.mark.timeout(120 + EXAMPLES)


def fuzz(examples: int = EXAMPLES) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],  # making a body smaller takes minutes; the message shows the one that failed
    )


@pytest.fixture
async def stack(make_stack: StackFactory) -> Stack:
    return await make_stack(max_body_bytes=1024 * 1024, loader=lambda *_: ScriptedEngine(vision=True))


async def send(stack: Stack, method: str, path: str, body: bytes | None = None, **options: Any) -> int:
    """Sends a request and checks what holds of every answer; returns its status."""
    async with asyncio.timeout(LONGEST_SECONDS):
        options.setdefault("headers", {"Content-Type": "application/json"})
        async with stack.http.request(method, stack.url + path, data=body and io.BytesIO(body), **options) as answer:
            content = await answer.read()
    assert answer.status < 500, content
    if answer.status >= 400:
        check_refusal(answer, content, body)
    elif answer.content_type == "text/event-stream":
        parse_sse(content)
    elif content:
        json.loads(content)
    return answer.status


def check_refusal(answer: ClientResponse, content: bytes, body: bytes | None) -> None:
    refusal = json.loads(content)
    assert set(refusal) == {"error"}
    error = refusal["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert len(content) < 5000, content
    if answer.status == 400 and error["param"] is not None:
        assert named(error["param"], body, answer), (error, (body or b"")[:500])


def named(param: str, body: bytes | None, answer: ClientResponse) -> bool:
    """Whether `param` is a place of the body, or one that the body lacks, or a parameter of the query."""
    first = re.split(r"[.\[]", param)[0]
    if first in {name.removesuffix("[]") for name in answer.url.query}:
        return True
    try:
        value = json.loads(body or b"")
    except (ValueError, RecursionError):  # the place is before the one where it stops to be JSON
        return body is not None and first.encode() in body
    steps = [step for step in re.findall(r'\["(?:[^"\\]|\\.)*"\]|\[\d+\]|[A-Za-z0-9_-]+|.', param) if step != "."]
    for number, step in enumerate(steps):
        key = json.loads(step)[0] if step.startswith("[") else step
        missing = isinstance(value, dict) and key not in value
        if missing or not isinstance(value, list if isinstance(key, int) else dict):
            return missing and number == len(steps) - 1
        value = value[key]
    return True


async def check_alive(stack: Stack) -> None:
    assert await send(stack, "POST", "/v1/responses", encode({"model": MODEL, "input": "Hi"})) == 200


@given(bodies=st.lists(BODIES, min_size=AT_ONCE, max_size=AT_ONCE))
@fuzz()
@pytest.mark.parametrize("path", CREATING)
async def test_bodies(stack: Stack, path: str, bodies: list[bytes]) -> None:
    await asyncio.gather(*(send(stack, "POST", path, body) for body in bodies))
    await check_alive(stack)


@given(body=VALID)
@fuzz()
async def test_valid_bodies_are_accepted(stack: Stack, body: dict[str, Any]) -> None:
    assert await send(stack, "POST", "/v1/responses", encode(body)) == 200
    assert await send(stack, "POST", "/v1/responses/input_tokens", encode(body)) == 200


@given(body=EXTREMES)
@fuzz(EXAMPLES // 3)
@pytest.mark.parametrize("path", CREATING)
async def test_deep_and_long_bodies(stack: Stack, path: str, body: bytes) -> None:
    await send(stack, "POST", path, body)
    await check_alive(stack)


ENCODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
    "br": bytes,
    "zstd": bytes,
    "nonsense": bytes,
}


@given(
    body=BODIES,
    content_type=st.sampled_from(
        [
            "application/json",
            "text/plain",
            "application/json; charset=utf-16",
            "multipart/form-data; boundary=x",
            "",
            "x",
        ]
    ),
    encoding=st.sampled_from([*ENCODINGS, None]),
    lies=st.booleans(),
    chunked=st.booleans(),
)
@fuzz()
async def test_content_types_and_encodings(
    stack: Stack, body: bytes, content_type: str, encoding: str | None, lies: bool, chunked: bool
) -> None:
    headers = {"Content-Type": content_type}
    sent = body
    if encoding:
        headers["Content-Encoding"] = encoding
        sent = body if lies else ENCODINGS[encoding](body)

    async def pieces() -> Any:
        for start in range(0, len(sent), 7000):
            yield sent[start : start + 7000]

    url = stack.url + "/v1/responses"
    async with asyncio.timeout(LONGEST_SECONDS):
        data = pieces() if chunked else sent
        async with stack.http.post(url, data=data, headers=headers) as answer:
            content = await answer.read()
    assert answer.status < 500, content
    await check_alive(stack)


ID = st.one_of(
    st.sampled_from(
        ["resp_1", "resp_" + "0" * 48, "x" * 7000, "..", "%00", "%2e%2e%2f", "%ff%fe", "%C3%A9", "a%20b", "*", "?"]
    ),
    st.text(max_size=30).map(lambda text: quote(text.encode(errors="surrogatepass"), safe="")),
)
QUERY = st.lists(
    st.tuples(
        st.sampled_from(["stream", "starting_after", "limit", "order", "after", "include", "include[]", "x"]),
        st.one_of(
            st.sampled_from(["true", "false", "1", "0", "-1", "20", "101", "asc", "desc", "²", "٣", "1e3", "9" * 30]),
            st.text(max_size=10),
        ),
    ),
    max_size=3,
).map(lambda pairs: "&".join(f"{name}={quote(value.encode(errors='surrogatepass'), safe='')}" for name, value in pairs))
PATHS = (
    "/v1/responses/{}",
    "/v1/responses/{}/cancel",
    "/v1/responses/{}/input_items",
    "/v1/models/{}",
    "/v1/conversations/{}",
    "/v1/conversations/{}/items",
    "/v1/conversations/{stored}/items/{}",
    "/{}/x",
)


@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"]),
    path=st.sampled_from(PATHS),
    name=st.one_of(ID, st.just("{stored}")),
    query=QUERY,
    body=st.one_of(st.none(), st.binary(max_size=20)),
)
@fuzz(EXAMPLES * 4)
async def test_paths_ids_and_queries(
    stack: Stack, method: str, path: str, name: str, query: str, body: bytes | None
) -> None:
    stored = await stored_id(stack, path)
    path = path.replace("{stored}", stored).format(stored if name == "{stored}" else name)
    await send_raw_path(stack, method, path + ("?" + query if query else ""), body)


async def stored_id(stack: Stack, path: str) -> str:
    """The id of something that is there: a conversation, a response."""
    if "conversations" not in path:
        return str((await stack.post(input="Hi"))[1]["id"])
    async with stack.http.post(stack.url + "/v1/conversations", json={"items": [USER]}) as answer:
        return str((await answer.json())["id"])


async def send_raw_path(stack: Stack, method: str, path: str, body: bytes | None) -> None:
    async with asyncio.timeout(LONGEST_SECONDS):
        url = URL(stack.url + path, encoded=True)
        async with stack.http.request(method, url, data=body, allow_redirects=False) as answer:
            content = await answer.read()
    assert answer.status < 500, content
    if answer.status >= 400 and method != "HEAD":
        check_refusal(answer, content, body)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "Idempotency-Key",
                "X-Request-Id",
                "X-Client-Request-Id",
                "Origin",
                "Accept",
                "Authorization",
                "X-Odd",
                "Range",
            ]
        ),
        st.one_of(
            st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40),
            st.sampled_from(["x" * 8000, "\t", "*"]),
        ),
    ),
    max_size=3,
)


@given(headers=HEADERS, stream=st.booleans())
@fuzz()
async def test_headers(stack: Stack, headers: list[tuple[str, str]], stream: bool) -> None:
    lines = [b"%b: %b" % (name.encode(), value.strip().encode("latin-1")) for name, value in headers]
    body = encode({"model": MODEL, "input": "Hi", "stream": stream})
    assert await raw(stack, b"POST /v1/responses HTTP/1.1", lines, body) < 500
    await check_alive(stack)


@given(
    line=st.one_of(
        st.sampled_from(
            [
                b"POST /v1/responses HTTP/1.1",
                b"GET /v1/models HTTP/9.9",
                b"GET http://elsewhere/v1/models HTTP/1.1",
                b"GET * HTTP/1.1",
                b"BREW /v1/responses HTTP/1.1",
                b"GET /" + b"x" * 9000 + b" HTTP/1.1",
                b"CONNECT a:1 HTTP/1.1",
            ]
        ),
        st.binary(max_size=40),
    ),
    headers=st.lists(
        st.one_of(
            st.sampled_from(
                [
                    b"X: " + b"x" * 20_000,
                    b"Content-Length: -1",
                    b"Content-Length: 5",
                    b"Content-Length: 99999999999999999999",
                    b"Transfer-Encoding: chunked",
                    b"Expect: 100-continue",
                    b"Expect: nonsense",
                    b"Upgrade: websocket",
                    b"no colon",
                    b": nameless",
                ]
            ),
            st.binary(max_size=30),
        ),
        max_size=3,
    ),
    body=st.binary(max_size=40),
)
@fuzz()
async def test_what_is_hardly_http(stack: Stack, line: bytes, headers: list[bytes], body: bytes) -> None:
    assert await raw(stack, line, headers, body, length=False) < 500
    await check_alive(stack)


async def raw(stack: Stack, line: bytes, headers: list[bytes], body: bytes, *, length: bool = True) -> int:
    """Sends bytes as they are, then ends its side; the status, or 0 where the server only hangs up."""
    host, port = stack.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        lines = [line, b"Host: x", b"Connection: close", *headers]
        if length:
            lines.append(b"Content-Length: %d" % len(body))
        async with asyncio.timeout(LONGEST_SECONDS):
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            writer.write_eof()
            answer = await reader.read()
        found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
        return int(found[1]) if found else 0
    except ConnectionResetError:
        return 0
    finally:
        writer.close()
