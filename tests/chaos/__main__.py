"""`python -m tests.chaos`: processes under load and under fire until the time is over, then a table.

Exits with 1 when a promise was broken, after telling the seed, the story of the stream and what the logs say of it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import tempfile
from pathlib import Path

import click

from tests.chaos import run
from tests.chaos.kinds import NETWORK_FAULTS, PROCESS_FAULTS, REDIS_FAULTS, TOOL_FAULTS
from tests.chaos.report import show


@click.command()
@click.option("--seconds", default=900.0, show_default=True, help="How long faults are injected.")
@click.option("--seed", type=int, help="Of the faults and the load; printed. A given one repeats their plan.")
@click.option("--clients", default=24, show_default=True, help="Visits at the same time.")
@click.option("--webs", default=2, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--every", default=4.0, show_default=True, help="Seconds between faults, on average.")
@click.option("--lease", default=5.0, show_default=True, help="LEASE_SECONDS of the workers.")
@click.option("--redis/--no-redis", default=True, show_default=True, help="Restart and kill Redis, too.")
@click.option("--network/--no-network", default=True, show_default=True, help="Partition processes from Redis, too.")
@click.option("--only", multiple=True, help="Only this kind of fault, or none; may be repeated.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where logs and data go.")
def main(
    seconds: float,
    seed: int | None,
    clients: int,
    webs: int,
    workers: int,
    every: float,
    lease: float,
    redis: bool,
    network: bool,
    only: tuple[str, ...],
    folder: Path | None,
) -> None:
    """Put llamarelay under load and under fire, and check from outside that nothing is lost."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    kinds = [*PROCESS_FAULTS, *(REDIS_FAULTS * redis), *((NETWORK_FAULTS + TOOL_FAULTS) * network)]
    plan = run.Plan(
        seconds=seconds,
        seed=seed,
        clients=clients,
        webs=webs,
        workers=workers,
        every=every,
        lease=lease,
        kinds=[kind for kind in only if kind != "none"] if only else kinds,
    )
    folder = folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, logs in {folder}, {', '.join(plan.kinds)}", flush=True)
    result = asyncio.run(run.run(plan, folder))
    show(plan, result)
    sys.exit(1 if result.violation else 0)


if __name__ == "__main__":
    random.seed()
    main()
