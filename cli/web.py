"""`llamarelay web`: one front end."""

from __future__ import annotations

import click

from cli.options import checked_address, checked_exposure, checked_redis, settings_with


@click.command()
@click.option("--host", help="The address to listen on.  [HOST]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on.  [PORT]")
@click.option("--redis-url", help="The Redis that connects web and workers.  [REDIS_URL]")
@click.option("--log-level", help="debug, info, warning or error.  [LOG_LEVEL]")
def web(host: str | None, port: int | None, redis_url: str | None, log_level: str | None) -> None:
    """Run one web process (the HTTP API).

    It needs a Redis and, somewhere, a worker on the same Redis. Flags come before the environment variables in
    brackets; `.env.example` lists them all.
    """
    settings = settings_with(host=host, port=port, redis_url=redis_url, log_level=log_level)
    checked_exposure(settings)
    checked_address(settings)
    checked_redis(settings)

    from api.app import run

    run(settings)
