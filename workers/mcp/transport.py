"""The HTTP of one connection to an MCP server: to the checked addresses only, within bounds, and never by an exception.

An exception would end the SDK's session with all the calls that share it. So what fails is written into the call's
trace, and the SDK gets an answer that ends this one request.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from weakref import WeakSet

import httpx2
import msgspec

from shared.address_guard import Destination
from shared.schema.mcp import HttpError
from workers.mcp.intake import (
    ELEMENTS,
    LIST_ELEMENTS,
    MESSAGES,
    MESSAGES_PER_SECOND,
    Answer,
    Elements,
    Flow,
    Intake,
    too_many_elements,
)
from workers.mcp.reply import reply_to
from workers.mcp.trace import CURRENT, Trace

MAX_ERROR_BODY = 64 * 1024
LONG = 4 * 1024  # bytes that the SDK reads at once; longer messages wait for their turn
MAX_IDLE = 2  # connections that a session keeps between its requests
TOO_MUCH = 413  # the code of what was not taken in
_KEPT_OUT = ("content-length", "content-encoding", "transfer-encoding")


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Reaches one server. Requests to another origin are not sent, whoever asks for them."""

    def __init__(
        self,
        target: Destination,
        trace: Trace,
        *,
        seconds: float,
        max_body: int,
        old: bool,
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        """`seconds`: for connecting, and for the answer to a notification. `max_body`: bytes of one answer, or of a
        whole list. `old`: whether answers come on another request's stream, as HTTP+SSE of 2024 has it. `turn`:
        returns when a long message may be read."""
        self._target = target
        self._trace = trace
        self._seconds = seconds
        self._max_body = max_body
        self._old = old
        self._turn = turn
        self._intake = Intake(max_body)
        self._calls: WeakSet[Trace] = WeakSet()  # those that may be waiting for an answer
        self._ended: HttpError | None = None  # why nothing more is taken from this server
        verify = certificates() if target.scheme == "https" else False
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE)
        self._inner = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        trace = CURRENT.get() or self._trace
        message = _read(await request.aread()) if request.method == "POST" else None
        apart = _is_notification(message) if request.method == "POST" else not self._old
        if apart and (request.method == "POST" or trace is self._trace):
            trace = Trace()  # what is sent beside the calls and may fail: a cancelled call tells the server so
        trace.failure = None
        if self._ended is not None:
            return self._failed(trace, self._ended)
        if not apart:
            self._calls.add(trace)
            if self._old and not _is_next_page(message):
                self._intake.expect()
        if request.method == "GET" and not self._intake.open():
            self._end(_FLOOD)
            return self._failed(trace, _FLOOD)
        response: httpx2.Response | None = None
        try:
            with trace.step():
                sent = await self._send(request, trace, apart=apart, answer=self._answer(message, trace))
                if sent.status_code >= 300:
                    response = await self._refusal(request, sent, trace)
                else:
                    response = await self._answered(message, sent, trace)
        except _Refused as refused:
            return self._failed(trace, refused.error)
        except (httpx2.HTTPError, OSError) as error:
            return self._failed(trace, _what_happened(error))
        if response is None:  # given up
            return self._failed(trace, HttpError(code=504, message="The server did not answer in time."))
        if response.status_code >= 400 and self._old and request.method == "POST":
            trace.give_up()
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _answer(self, message: _Message | None, trace: Trace) -> Answer:
        """What may come as answer to a message."""
        if message is None or message.method != "tools/list":
            return Answer("The server's answer", self._max_body, ELEMENTS)
        if trace.listing is None:
            trace.listing = Answer("The server's list of tools", self._max_body, LIST_ELEMENTS)
        return trace.listing

    async def _send(self, request: httpx2.Request, trace: Trace, *, apart: bool, answer: Answer) -> httpx2.Response:
        target = self._target
        url = request.url
        port = url.port or {"http": 80, "https": 443}.get(url.scheme)
        if (url.scheme, url.host, port) != (target.scheme, target.host, target.port):
            raise _Refused(403, "The server leads to another origin, which is not followed.")
        timeout = {"connect": self._seconds, "write": self._seconds, "pool": None, "read": None}
        if apart and request.method != "GET":
            timeout["read"] = self._seconds
        extensions = {**request.extensions, "timeout": timeout}
        if target.has_name:
            extensions["sni_hostname"] = target.host
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"accept-encoding"]
        headers.append((b"Accept-Encoding", b"identity"))
        error: Exception | None = None
        for address in target.addresses:
            pinned = httpx2.Request(
                request.method,
                url.copy_with(host=str(address)),
                headers=headers,  # the Host of the name is among them
                stream=request.stream,
                extensions=extensions,
            )
            trace.sent = True
            try:
                response = await self._inner.handle_async_request(pinned)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as failed:
                trace.sent = False
                error = failed
                continue
            return self._bounded(request, response, trace, answer)
        assert error is not None
        raise error

    def _bounded(
        self, request: httpx2.Request, response: httpx2.Response, trace: Trace, answer: Answer
    ) -> httpx2.Response:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise _Refused(502, "The server answers compressed, which was not asked for.")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        endless = request.method == "GET"  # a stream of events
        events = endless or response.headers.get("content-type", "").lower().startswith("text/event-stream")
        check = self._stream_check() if endless else self._answer_check(trace, answer, events=events)
        flow = self._intake.flow(endless=endless) if events else None
        bounded = httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Body(response.stream, trace, check, flow, lambda: self._end(_FLOOD), self._turn),
            extensions=response.extensions,
        )
        bounded.encoding = "utf-8"  # of JSON and of events; in another one, what comes is not what was counted
        return bounded

    def _answer_check(self, trace: Trace, answer: Answer, *, events: bool) -> Callable[[bytes], bool]:
        """Says whether an answer is not too much, with each chunk of it; if it is, a note is in the trace."""
        answer.begin(events=events, each=events and answer is not trace.listing)

        def check(chunk: bytes) -> bool:
            if excess := answer.excess(chunk):
                trace.failure = HttpError(code=TOO_MUCH, message=excess)
            return excess is None

        return check

    def _stream_check(self) -> Callable[[bytes], bool]:
        """The same for a stream without an end; if a message in it is too much, nothing more is taken."""
        elements = Elements(LIST_ELEMENTS)  # the old kind's answers come there, lists too
        elements.begin(events=True, each=True)

        def check(chunk: bytes) -> bool:
            if fits := elements.take(chunk):
                return fits
            message = too_many_elements("A message of the server", LIST_ELEMENTS)
            self._end(HttpError(code=TOO_MUCH, message=message))
            return False

        return check

    async def _refusal(self, request: httpx2.Request, response: httpx2.Response, trace: Trace) -> httpx2.Response:
        """A refusal is written down unless it is an error of JSON-RPC, which the SDK understands."""
        status = response.status_code
        if status < 400:  # cleared if the SDK follows it
            message = f"The server redirects (status {status}); only 307 and 308 within its origin are followed."
            trace.failure = HttpError(code=status, message=message)
            return response
        # https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management
        trace.session_ended = status == 404 and "mcp-session-id" in request.headers
        assert isinstance(response.stream, _Body)
        body = await response.stream.read(MAX_ERROR_BODY)
        if status in (401, 403) or not _is_rpc_error(body):
            trace.failure = HttpError(code=status, message=_status_message(status))
        return _with_body(response, body)

    async def _answered(self, asked: _Message | None, response: httpx2.Response, trace: Trace) -> httpx2.Response:
        """What answers a message. In JSON, where nothing else can follow, that has to be the reply to a request. Raises
        _Refused."""
        kind = response.headers.get("content-type", "").lower()
        if self._old or response.status_code == 202 or not kind.startswith("application/json"):
            return response
        if asked is None or asked.method is None or not isinstance(asked.id, str | int):
            return response
        assert isinstance(response.stream, _Body)
        try:
            body = b"".join([chunk async for chunk in response.stream])
        finally:
            await response.stream.aclose()
        found = body if trace.failure else reply_to(asked.id, body)
        if found is None:
            raise _Refused(502, "The server answered with something that is no answer to this request.")
        return _with_body(response, found)

    def _end(self, error: HttpError) -> None:
        """Takes nothing more from this server. All calls that wait for it fail."""
        self._ended = error
        for trace in (self._trace, *self._calls):
            trace.failure = error
            trace.give_up()

    def _failed(self, trace: Trace, error: HttpError) -> httpx2.Response:
        """An answer in place of the one that cannot be had."""
        trace.failure = error
        if self._old:
            trace.give_up()
        return httpx2.Response(
            error.code, json={"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": error.message}}
        )


def _with_body(response: httpx2.Response, body: bytes) -> httpx2.Response:
    """A response whose body has been read, with this one."""
    headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _KEPT_OUT]
    return httpx2.Response(response.status_code, headers=headers, content=body)


class _Body(httpx2.AsyncByteStream):
    """A body of bounded size. It ends early, with a note in the trace, instead of raising."""

    def __init__(
        self,
        stream: httpx2.AsyncByteStream,
        trace: Trace,
        check: Callable[[bytes], bool],
        flow: Flow | None,
        on_flood: Callable[[], None],
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        """`check`: whether a chunk is not too much. `flow`: counts the events in it; `on_flood` is called when they are
        too many. `turn`: waited for before what is long is handed on."""
        self._stream = stream
        self._trace = trace
        self._check = check
        self._flow = flow
        self._on_flood = on_flood
        self._turn = turn

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._stream.__aiter__()
        taken = 0
        while (chunk := await self._next(chunks)) is not None:
            if self._flow is not None and not self._flow.take(chunk):
                self._on_flood()
                return
            if not self._check(chunk):
                return
            taken += len(chunk)
            if self._flow is not None and taken > LONG:  # a message may end in each chunk
                await self._turn()
            yield chunk
        if taken > LONG:
            await self._turn()

    async def read(self, limit: int) -> bytes:
        """The beginning of the body; closes it."""
        found = bytearray()
        try:
            chunks = self._stream.__aiter__()
            while len(found) < limit and (chunk := await self._next(chunks)) is not None:
                found += chunk
        finally:
            await self.aclose()
        return bytes(found[:limit])

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        try:
            with self._trace.step():
                return await anext(chunks)
        except StopAsyncIteration:
            return None
        except (httpx2.HTTPError, OSError) as error:
            self._trace.failure = _what_happened(error)
        return None


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        self.error = HttpError(code=code, message=message)


@cache
def certificates() -> ssl.SSLContext:
    """Whom to trust: the usual authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR. Reading them takes a while."""
    return httpx2.create_ssl_context()


_FLOOD = HttpError(
    code=TOO_MUCH,
    message=f"The server sends too much besides its answers: more than {MESSAGES} messages at once and "
    f"{MESSAGES_PER_SECOND:g} a second, or lists or streams without an end.",
)


def _what_happened(error: Exception) -> HttpError:
    """An error of the network, without what its text may show."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return HttpError(code=502, message="The server's TLS certificate is not accepted, or it speaks no TLS.")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.ConnectTimeout):
        return HttpError(code=504, message="The server could not be reached in time.")
    if isinstance(error, httpx2.ConnectError):
        return HttpError(code=502, message="The server cannot be reached.")
    if isinstance(error, httpx2.TimeoutException):
        return HttpError(code=504, message="The server did not answer in time.")
    return HttpError(code=502, message="The connection to the server broke.")


def _status_message(status: int) -> str:
    match status:
        case 401:
            return "The server asks for an authorization, or for another one (status 401)."
        case 403:
            return "The server does not allow it (status 403)."
        case 404:
            return "There is no MCP server at this address (status 404)."
    return f"The server answered with the status {status}."


class _Message(msgspec.Struct):
    """What tells JSON-RPC messages apart."""

    id: object = None
    method: str | None = None
    params: dict[str, object] | None = None
    error: dict[str, object] | None = None
    jsonrpc: str | None = None


def _is_notification(message: _Message | None) -> bool:
    """Whether a message of ours waits for no answer: notifications, and answers to the server's requests."""
    return message is not None and (message.id is None or message.method is None)


def _is_next_page(message: _Message | None) -> bool:
    """Whether a message of ours asks for more of a list of tools that has begun to come."""
    return message is not None and message.method == "tools/list" and bool((message.params or {}).get("cursor"))


def _is_rpc_error(body: bytes) -> bool:
    message = _read(body)
    return message is not None and message.jsonrpc == "2.0" and message.error is not None


def _read(body: bytes) -> _Message | None:
    try:
        return msgspec.json.decode(body, type=_Message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
