"""`python -m tests.e2e.stuck_worker loading|closing`: a worker whose model never finishes to load, or to be closed."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import uvloop

from shared.catalog import Catalog
from shared.logs import configure_logs
from shared.settings import Settings
from workers.engine.core import Engine
from workers.engine.scripted import ScriptedEngine
from workers.models import served
from workers.process import serve


class Unclosable(ScriptedEngine):
    """As llama.cpp is while it computes a long step: a thread that nothing interrupts."""

    async def close(self) -> None:
        thread = threading.Thread(target=threading.Event().wait)
        thread.start()
        await super().close()


def load(path: Path, *_: object) -> Engine:
    if sys.argv[1] == "loading":
        print("model_loading", flush=True)
        threading.Event().wait()
    return Unclosable()


if __name__ == "__main__":
    settings = Settings.from_environment()
    configure_logs(settings, "worker")
    uvloop.run(serve(settings, served(Catalog(settings.models_dir), settings.models), load))
