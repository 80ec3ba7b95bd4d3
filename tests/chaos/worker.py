"""`python -m tests.chaos.worker NOTES`: `llamarelay worker` with engines that keep a pace (see `engines`).

PACE is the seconds between two tokens. Everything but the engine is the product: settings, leases, drain, signals.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from shared.catalog import Catalog
from shared.logs import configure_logs
from shared.settings import Settings
from tests.chaos.engines import Manners, PacedEngine, scripted
from workers.engine.core import Engine
from workers.engine.engine import load_engine
from workers.models import Loader, Served, served
from workers.process import serve


def main() -> None:
    settings = Settings.from_environment()
    configure_logs(settings, "worker")
    pace = float(os.environ.get("PACE", "0.02"))
    manners = Manners(pace, Path(sys.argv[1]))

    def load(path: Path, *arguments: object) -> Engine:
        if "F16" in path.name:
            return PacedEngine(scripted(), manners)
        return PacedEngine(load_engine(path, *arguments), manners)  # type: ignore[arg-type]

    models = served(Catalog(settings.models_dir), settings.models)
    uvloop.run(_serve(settings, models, load))


async def _serve(settings: Settings, models: list[Served], load: Loader) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _tell_where_tasks_wait)
    await serve(settings, models, load)


def _tell_where_tasks_wait() -> None:
    """On SIGUSR1: what a worker is doing that has been silent for too long."""
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)


if __name__ == "__main__":
    main()
