"""`GET /v1/responses` with an upgrade: the Responses API over a WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import hdrs, web

from api.auth import KEY, chosen_subprotocol, owner_of
from api.context import CHORES, CREATION, DRAINING, REDIS, SETTINGS, SOCKETS, STREAMS
from api.cors import Cors
from api.errors import ApiError, shown, unavailable
from api.rate_limits import count
from api.sse import wire_of
from api.websocket import Connection

routes = web.RouteTableDef()


@routes.get("/v1/responses", allow_head=False)
async def open_socket(request: web.Request) -> web.StreamResponse:
    _check_origin(request)
    settings = request.app[SETTINGS]
    wire = wire_of(request.headers, settings)
    socket = web.WebSocketResponse(
        protocols=chosen_subprotocol(request),
        compress=False,
        decode_text=False,  # the JSON decoder checks it, and a wrong one is no reason to close the connection
        max_msg_size=2 * settings.max_body_bytes,  # up to here a frame that is too large gets an answer
    )
    if not socket.can_prepare(request):
        message = "GET is not allowed for /v1/responses without an upgrade to WebSocket. Allowed: POST."
        raise ApiError(405, message, code="method_not_allowed", headers={"Allow": "POST"})
    app = request.app
    _check_number(app, owner_of(request))
    await socket.prepare(request)
    connection = Connection(
        socket,
        wire,
        app[REDIS],
        app[CREATION],
        app[STREAMS],
        app[CHORES],
        settings,
        owner_of(request),
        app[DRAINING],
        request.transport,
        _counter(request),
    )
    app[SOCKETS].add(connection)
    try:
        await connection.serve()
    finally:
        app[SOCKETS].discard(connection)
    return socket


def _check_number(app: web.Application, owner: str) -> None:
    """Each connection holds memory for as long as it lasts. Raises ApiError where an owner has too many."""
    most = app[SETTINGS].websocket_connections
    if most and sum(connection.owner == owner for connection in app[SOCKETS]) >= most:
        message = f"This key has {most} WebSockets open at this server, which is the limit. Close one."
        raise ApiError(429, message, type="rate_limit_error", code="websocket_connections_limit_reached")


def _counter(request: web.Request) -> Callable[[], Awaitable[object]] | None:
    """Counts a frame as a request of its key. Raises ApiError where that is one too many."""
    return partial(count, request.app[REDIS], request[KEY]) if KEY in request else None


def _check_origin(request: web.Request) -> None:
    """CORS does not hold back a page that opens a WebSocket: only our own pages may, and those of CORS_ORIGINS.

    Who is no browser sends no Origin. Raises ApiError.
    """
    origin = request.headers.get(hdrs.ORIGIN)
    ours = origin is None or origin.partition("://")[2] == request.host
    if not ours and not Cors(request.app[SETTINGS].cors_origins).allows(request):
        message = f"Pages of {shown(origin or '')} may not open a WebSocket here."
        raise ApiError(403, message, type="permission_error", code="origin_not_allowed")


async def retire_sockets(app: web.Application) -> None:
    """When this process is stopped: each connection is closed as soon as nothing runs on it."""
    connections = app[SOCKETS]
    for connection in list(connections):
        connection.retire(unavailable("This server is being restarted.", code="server_restarting"))
