"""The application factory of the front end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import structlog
import uvloop
from aiohttp import web
from redis.exceptions import RedisError

from api import silent, unreadable
from api.auth import Authentication
from api.chores import Chores
from api.context import CHORES, CREATION, DRAINING, FLEET, REDIS, RELAY, SETTINGS, SOCKETS, STREAMS
from api.cors import Cors
from api.creation import Creation
from api.draining import Draining
from api.fleet import Fleet
from api.middleware import add_request_id, envelope, note_start, request_id
from api.overdue import OverdueJobs
from api.presence import Presence
from api.rate_limits import add_rate_headers, count_request
from api.relay import Relay
from api.routes import conversations, health, models, responses, websocket
from api.streams import Streams
from shared.api_keys import Keys
from shared.exposure import check_exposure
from shared.logs import configure_logs
from shared.redis import scripts
from shared.redis.connection import connect
from shared.redis.outage import outage
from shared.settings import Settings

log = structlog.get_logger()

CLOSE_SECONDS = 1.0


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
        shutdown_timeout=CLOSE_SECONDS,  # `Draining` has waited before
        loop=uvloop.new_event_loop(),
    )


def create_app(settings: Settings) -> web.Application:
    """The front end; it holds no model and no state of a response."""
    unreadable.install()
    silent.install()
    draining = Draining(settings.drain_seconds)
    middlewares = [request_id, draining.middleware, envelope]
    app = web.Application(
        middlewares=middlewares,
        client_max_size=settings.max_body_bytes,
        handler_args={"head_seconds": settings.receive_seconds},
    )
    app[SETTINGS] = settings
    app[DRAINING] = draining
    app[SOCKETS] = set()
    app.on_shutdown.append(websocket.retire_sockets)
    draining.install(app)
    app.on_response_prepare.append(note_start)
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
    timeout = settings.redis_timeout_seconds
    redis = app[REDIS] = connect(settings.redis_url, timeout)
    try:
        await scripts.load(redis)
    except RedisError as error:  # it may come later; until then requests get a 503
        if outage(error) is None:
            raise
        log.warning(outage(error), error=str(error))
    relay = app[RELAY] = Relay(
        connect(settings.redis_url, None, retry=False),
        settings.follower_buffer_events,
        settings.follower_buffer_bytes,
        timeout,
    )
    fleet = app[FLEET] = Fleet(redis, settings.default_model, queue_without_worker=settings.no_worker == "queue")
    chores = app[CHORES] = Chores()
    streams = app[STREAMS] = Streams(redis, relay, settings)
    presence = Presence(redis, settings.redis_url, settings.lease_seconds, timeout)
    app[CREATION] = Creation(redis, fleet, settings, presence.id, Keys.read(settings.api_keys).slots_of)
    await relay.start()
    await fleet.start()
    await presence.start()
    overdue = OverdueJobs(redis, fleet, settings)
    await overdue.start()
    await streams.readers.start()
    yield
    await presence.close()
    await streams.readers.close()
    await overdue.close()
    await fleet.close()
    await relay.close()
    await chores.close()
    await redis.aclose(close_connection_pool=True)
