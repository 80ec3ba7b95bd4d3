"""`/healthz`: this process lives. `/readyz`: Redis answers and a worker lives."""

from __future__ import annotations

from aiohttp import web
from redis.exceptions import RedisError

from api.context import FLEET, REDIS
from api.errors import unavailable

routes = web.RouteTableDef()


@routes.get("/healthz")
async def healthz(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@routes.get("/readyz")
async def readyz(request: web.Request) -> web.Response:
    fleet = request.app[FLEET]
    try:
        await request.app[REDIS].ping()
        await fleet.refresh()
    except RedisError as error:
        raise unavailable(f"Redis does not answer: {type(error).__name__}.", code="redis_unreachable") from None
    if not fleet.workers:
        raise unavailable("No worker is running.", code="no_worker")
    return web.json_response({"status": "ready", "workers": fleet.workers})
