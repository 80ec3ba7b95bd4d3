"""`llamarelay worker`: one process that runs models."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import checked_redis, settings_with


@click.command()
@click.option("--model", "models", multiple=True, help="A model to serve; may be repeated.  [MODELS]")
@click.option("--models-dir", type=click.Path(path_type=Path), help="Where the GGUF files are.  [MODELS_DIR]")
@click.option("--redis-url", help="The Redis that connects web and workers.  [REDIS_URL]")
@click.option("--log-level", help="debug, info, warning or error.  [LOG_LEVEL]")
def worker(models: tuple[str, ...], models_dir: Path | None, redis_url: str | None, log_level: str | None) -> None:
    """Run one worker process (llama.cpp).

    It takes jobs from Redis for the models it serves: all that `llamarelay ls` lists, unless some are named. Flags
    come before the environment variables in brackets; `.env.example` lists them all.
    """
    settings = settings_with(models=models, models_dir=models_dir, redis_url=redis_url, log_level=log_level)
    checked_redis(settings)

    from workers.process import run

    run(settings)
