"""`llamarelay up`: everything on this machine, for one person or a small team."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from cli.options import checked_address, checked_exposure, checked_redis, settings_with
from shared.settings import Settings

CONNECT_SECONDS = 5.0


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port to listen on, 0 for a free one.  [PORT, else 8080]"
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--model", "models", multiple=True, help="A model to serve, may be repeated.  [MODELS, else all]")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where conversations and logs are kept.  [default: data/ in a checkout, else ~/.local/share/llamarelay]",
)
@click.option(
    "--allow-mcp/--no-allow-mcp",
    default=None,
    help="Let requests use remote MCP servers.  [ALLOW_REMOTE_MCP, else off]",
)
@click.option("--redis-url", help="A Redis to use instead of the embedded one.  [REDIS_URL]")
def up(
    host: str,
    port: int | None,
    workers: int,
    models: tuple[str, ...],
    data_dir: Path | None,
    allow_mcp: bool | None,
    redis_url: str | None,
) -> None:
    """Start Redis, the web process and the workers on this machine.

    They are restarted when they die. Ctrl-C stops them in order: running answers are finished first; a second Ctrl-C
    kills. Conversations are kept in the data folder and are there again at the next start.
    """
    from cli.data_dir import default_data_dir, encryption_key, locked
    from cli.ports import free_port
    from cli.stack import Stack

    named_redis = redis_url or os.environ.get("REDIS_URL")
    settings = _with_models(
        settings_with(host=host, port=port, redis_url=named_redis, allow_remote_mcp=allow_mcp), models
    )
    checked_exposure(settings)
    checked_address(settings)
    if settings.port == 0:
        settings = replace(settings, port=free_port(settings.host))
    if named_redis:
        checked_redis(settings)
        asyncio.run(_check_redis(named_redis))
    folder = (data_dir or default_data_dir()).absolute()
    with locked(folder):
        if not settings.encryption_key:
            settings = replace(settings, encryption_key=encryption_key(folder))
        stack = Stack(settings, folder, workers=workers, embed_redis=not named_redis)
        status = asyncio.run(stack.run())
    sys.exit(status)


def _with_models(settings: Settings, names: tuple[str, ...]) -> Settings:
    """The settings to serve the models called `names`, the first as the default; without names MODELS stays as it is.

    Raises ClickException for a model that is not on this machine, and if there is none at all.
    """
    from shared.catalog import Catalog, ModelNotFoundError

    catalog = Catalog(settings.models_dir)
    if not any(model.default for model in catalog.models):
        raise click.ClickException(f"no usable model in {settings.models_dir}; `llamarelay ls` lists what is there")
    try:
        found = [(name, catalog.find(name)) for name in names or settings.models]
    except ModelNotFoundError as error:
        raise click.ClickException(str(error)) from None
    if not names:
        return settings
    keys = [variant.id if "@" in name else variant.model for name, variant in found]
    return replace(settings, models=tuple(keys), default_model=keys[0])


async def _check_redis(url: str) -> None:
    """Raises ClickException if no Redis answers at `url`."""
    from redis import RedisError

    from shared.redis.connection import connect

    client = connect(url, CONNECT_SECONDS, retry=False)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        raise click.ClickException(f"the Redis that --redis-url or REDIS_URL names does not answer: {error}") from None
    finally:
        await client.aclose()
