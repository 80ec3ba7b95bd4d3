"""The application factory of the front end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import uvloop
from aiohttp import web

from api import unreadable
from api.auth import Authentication
from api.context import CREATION, FLEET, REDIS, RELAY, SETTINGS, SOCKETS, STREAMS
from api.cors import Cors
from api.creation import Creation
from api.fleet import Fleet
from api.middleware import add_request_id, envelope, request_id
from api.overdue import OverdueJobs
from api.rate_limits import add_rate_headers, count_request
from api.relay import Relay
from api.routes import conversations, health, models, responses, websocket
from api.streams import Streams
from shared.api_keys import Keys
from shared.exposure import check_exposure
from shared.logs import configure_logs
from shared.redis import scripts
from shared.redis.connection import connect
from shared.settings import Settings


def run(settings: Settings) -> None:
    """Serves HTTP until SIGTERM or SIGINT. Raises SettingsError where keys are wrong, or missing and needed."""
    check_exposure(settings)
    configure_logs(settings, "web")
    web.run_app(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        handler_cancellation=True,  # a client that leaves ends its handler
        access_log=None,
        print=None,
        shutdown_timeout=settings.drain_seconds,
        loop=uvloop.new_event_loop(),
    )


def create_app(settings: Settings) -> web.Application:
    """The front end; it holds no model and no state of a response."""
    unreadable.install()
    app = web.Application(middlewares=[request_id, envelope], client_max_size=settings.max_body_bytes)
    app[SETTINGS] = settings
    app[SOCKETS] = set()
    app.on_shutdown.append(websocket.retire_sockets)
    app.on_response_prepare.append(add_request_id)
    Cors(settings.cors_origins).install(app)
    Authentication(Keys.read(settings.api_keys)).install(app)
    app.middlewares.append(count_request)
    app.on_response_prepare.append(add_rate_headers)
    app.cleanup_ctx.append(_connect)
    for module in (health, models, responses, conversations, websocket):
        app.add_routes(module.routes)
    return app


async def _connect(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    redis = app[REDIS] = connect(settings.redis_url)
    await scripts.load(redis)
    relay = app[RELAY] = Relay(redis, settings.follower_buffer_events, settings.follower_buffer_bytes)
    fleet = app[FLEET] = Fleet(redis, settings.default_model, queue_without_worker=settings.no_worker == "queue")
    streams = app[STREAMS] = Streams(redis, relay, settings)
    app[CREATION] = Creation(redis, fleet, settings, Keys.read(settings.api_keys).slots_of)
    await relay.start()
    await fleet.start()
    overdue = OverdueJobs(redis, fleet, settings)
    await overdue.start()
    await streams.readers.start()
    yield
    await streams.readers.close()
    await overdue.close()
    await fleet.close()
    await relay.close()
    await redis.aclose(close_connection_pool=True)
