"""One connection to an MCP server: a session of the SDK, held by a task of its own.

The SDK's contexts have to be left by the task that entered them, while calls come and go in other tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Literal, TypeVar

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import ValidationError

from shared.address_guard import AddressRefused, Destination, NotLookedUp
from shared.mcp_headers import HeaderRefused, request_headers
from shared.mcp_server import Server
from shared.settings import Settings
from workers.mcp.begin import Begin, at_once
from workers.mcp.failure import ServerFailed, SessionLost, http_failure, protocol_failure
from workers.mcp.places import Share
from workers.mcp.trace import CURRENT, Trace
from workers.mcp.transport import TOO_MUCH, PinnedTransport

Kind = Literal["streamable", "old"]
T = TypeVar("T")

_FULL = "the worker has as many connections to MCP servers as it may have, and none became free"
CLOSING_SECONDS = 2.0  # for telling a server that its session ends
MAX_MESSAGE = 2000  # characters of a server's error message
TOO_LONG = 16_000  # of one in which secrets are not even looked for
# https://modelcontextprotocol.io/specification/2025-06-18/basic/transports#backwards-compatibility
_MAYBE_OLD = frozenset({400, 404, 405})
_CLIENT = types.Implementation(name="llamarelay", version=version("llamarelay"))


class Connection:
    """Opens at once, in the background; `use` waits for it."""

    def __init__(
        self,
        server: Server,
        settings: Settings,
        find: Callable[[], Awaitable[Destination]],
        kind: Kind | None,
        share: Share,
    ) -> None:
        """`find` says where the server is and raises AddressRefused; `kind` is None where it is not known yet. It has a
        place of `share`, which it gives up where others wait and nobody uses it."""
        self.kind = kind
        self.broken = False  # whether calls after this moment need another one
        self._server = server
        self._settings = settings
        self._find = find
        self._share = share
        self._trace = Trace()
        self._client: Client | None = None
        self._failure = http_failure(502, "The connection to the server is closed.")
        self._users = 0
        self._opened = asyncio.Event()
        self._closing = asyncio.Event()
        self._owner = asyncio.create_task(self._own(), name=f"mcp {server.label}")

    async def use(self, seconds: float, work: Callable[[Client], Awaitable[T]], begin: Begin = at_once) -> T:
        """What `work` returns; `begin` comes right before it, and takes none of its time. Raises ServerFailed,
        SessionLost."""
        self._users += 1
        self._share.used(self.close)
        trace = Trace()
        token = CURRENT.set(trace)
        late = http_failure(503, f"The server was not asked: {_FULL} within {seconds:g} s.")
        try:
            await self._opened.wait()
            if self._client is None:
                raise ServerFailed(self._failure.error)
            async with asyncio.timeout(seconds) as limit, self._share.call():
                await beside(limit, begin)
                if self._client is None:  # it broke meanwhile
                    raise SessionLost(self._failure)
                late = http_failure(504, f"The server did not answer within {seconds:g} s.")
                with trace.waiting():
                    return await work(self._client)
            raise self._explained(trace, self._failure)
        except TimeoutError:
            raise self._explained(trace, late) from None
        except MCPError as error:
            failure = self._diagnosed(error, trace)
            raise (SessionLost(failure) if self._is_lost(error, trace) else failure) from None
        except (ValidationError, ValueError):
            raise protocol_failure(types.PARSE_ERROR, "The server's answer is not what the protocol says.") from None
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, RuntimeError):
            self.broken = True
            raise self._explained(trace, self._failure) from None
        finally:
            trace.abandon()
            CURRENT.reset(token)
            self._users -= 1
            if self.broken:
                self.close()
            elif self._users == 0:
                self._share.idle(self.close)

    def close(self) -> None:
        """Closes the connection as soon as nobody uses it."""
        self.broken = True
        if self._users == 0:
            self._closing.set()

    async def closed(self) -> None:
        """Closes the connection and waits for that, but not long."""
        self.broken = True
        self._closing.set()
        try:
            await asyncio.wait({self._owner}, timeout=CLOSING_SECONDS if self._opened.is_set() else 0)
        finally:
            self._owner.cancel()
            await asyncio.wait({self._owner})

    async def _own(self) -> None:
        CURRENT.set(self._trace)
        try:
            async with AsyncExitStack() as stack:
                await self._take_place(stack)
                client = await self._open(stack)
                self._client = client
                self._opened.set()
                await self._closing.wait()
        except (AddressRefused, HeaderRefused) as refused:
            self._failure = http_failure(
                503 if isinstance(refused, NotLookedUp) else 403, f"The server is not called: {refused}."
            )
        except ServerFailed as failure:
            self._failure = failure
        except Exception as error:  # of the SDK's task groups, which wrap it
            self._failure = self._found(error)
        finally:
            self._client = None
            self.broken = True
            self._share.used(self.close)
            self._opened.set()

    async def _take_place(self, stack: AsyncExitStack) -> None:
        """Raises ServerFailed where none gets free in time."""
        limit = self._settings.mcp_connect_seconds
        try:
            async with asyncio.timeout(limit):
                await stack.enter_async_context(self._share.session())
        except TimeoutError:
            raise http_failure(503, f"The server was not reached: {_FULL} within {limit:g} s.") from None

    async def _open(self, stack: AsyncExitStack) -> Client:
        headers = {"user-agent": "llamarelay", **request_headers(self._server.authorization, self._server.headers)}
        target = await self._find()
        kinds: list[Kind] = [self.kind] if self.kind else ["streamable", "old"]
        first: ServerFailed | None = None
        for kind in kinds:
            try:
                client = await self._enter(stack, kind, target, headers)
            except ServerFailed as failure:
                found = self._trace.failure
                if found is None or found.code not in _MAYBE_OLD:
                    raise failure if found is not None and found.code == TOO_MUCH else first or failure from None
                first = first or failure
            else:
                self.kind = kind
                self._trace.failure = None
                return client
        assert first is not None
        raise first

    async def _enter(self, stack: AsyncExitStack, kind: Kind, target: Destination, headers: dict[str, str]) -> Client:
        """A client after its handshake. Raises ServerFailed."""
        limit = self._settings.mcp_connect_seconds
        transport = PinnedTransport(
            target,
            self._trace,
            seconds=limit,
            max_body=max_body(self._settings),
            old=kind == "old",
            turn=self._share.turn,
        )

        def http(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,
            auth: httpx2.Auth | None = None,
            sent: dict[str, str] = headers,
        ) -> httpx2.AsyncClient:
            return httpx2.AsyncClient(
                transport=transport,
                headers=sent,
                timeout=None,
                trust_env=False,
                follow_redirects=False,
                max_redirects=5,
            )

        try:
            async with asyncio.timeout(limit) as deadline:
                self._trace.give_up = lambda: None if deadline.expired() else deadline.reschedule(0)
                async with AsyncExitStack() as opening:
                    if kind == "old":
                        streams = sse_client(target.url, httpx_client_factory=http)
                        client = Client(streams, mode="legacy", cache=None, client_info=_CLIENT)
                    else:
                        shared = await opening.enter_async_context(http())
                        streams = streamable_http_client(
                            target.url, http_client=shared, max_sse_event_size=max_body(self._settings)
                        )
                        client = Client(streams, mode="auto", cache=None, client_info=_CLIENT)
                    await opening.enter_async_context(client)
                    stack.push_async_exit(opening.pop_all())
        except TimeoutError:
            late = http_failure(504, f"The server did not open a session within {limit:g} s.")
            raise self._explained(self._trace, late) from None
        except Exception as error:
            raise self._found(error) from None
        finally:
            self._trace.give_up = lambda: None
        return client

    def _found(self, error: BaseException) -> ServerFailed:
        """What an error of opening or holding the session means."""
        if self._trace.failure is None:
            for cause in _leaves(error):
                if isinstance(cause, MCPError):
                    return self._diagnosed(cause, self._trace)
                if isinstance(cause, ValidationError | ValueError):
                    return protocol_failure(types.PARSE_ERROR, "The server's answer is not what the protocol says.")
        return self._explained(self._trace, http_failure(502, "The connection to the server broke."))

    def _explained(self, trace: Trace, otherwise: ServerFailed) -> ServerFailed:
        return ServerFailed(trace.failure) if trace.failure else otherwise

    def _diagnosed(self, error: MCPError, trace: Trace) -> ServerFailed:
        if trace.failure is not None:
            return ServerFailed(trace.failure)
        if error.code == types.CONNECTION_CLOSED:
            closed = http_failure(502, "The server ended the connection without an answer.")
            return self._explained(self._trace, closed)
        if error.code == types.PARSE_ERROR:
            return protocol_failure(error.code, "The server's answer is not JSON-RPC.")
        if len(error.message) > TOO_LONG:
            return protocol_failure(error.code, "The server refused this with a message that is too long to be shown.")
        return protocol_failure(error.code, self._server.hide(error.message)[:MAX_MESSAGE])

    def _is_lost(self, error: MCPError, trace: Trace) -> bool:
        """Whether the server never saw the call, because its session or the connection had ended before."""
        closed = error.code == types.CONNECTION_CLOSED and trace.failure is None
        self.broken |= closed or trace.session_ended
        return trace.session_ended or (closed and not trace.sent)


def max_body(settings: Settings) -> int:
    """Bytes of one answer as sent, or of a whole list of tools: escaped, in JSON, and often there twice (as text and as
    structured content)."""
    return 4 * settings.mcp_max_result_bytes + 64 * 1024


async def beside(limit: asyncio.Timeout, begin: Begin) -> None:
    """Does what takes no time of a limit."""
    ends, now = limit.when(), asyncio.get_running_loop().time
    assert ends is not None
    left = ends - now()
    limit.reschedule(None)
    await begin()
    limit.reschedule(now() + left)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
