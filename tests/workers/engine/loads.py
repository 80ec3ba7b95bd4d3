"""Loads each GGUF named on the command line, in a process of its own, and lets it say a token; prints how it ended."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from shared.settings import Settings
from workers.engine.core import EngineError, GenerationRequest
from workers.engine.engine import load_engine


async def say(path: Path) -> None:
    engine = load_engine(path, Settings(threads=1, context_length=256, slots=2))
    async for _ in engine.generate(GenerationRequest(id="x", tokens=engine.tokenize("Hello"), max_tokens=1)):
        pass


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for name in sys.argv[1:]:
        child = os.fork()
        if not child:
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            try:
                asyncio.run(say(Path(name)))
                os._exit(0)
            except EngineError:
                os._exit(1)
            finally:
                os._exit(2)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print("said" if status == 0 else "refused" if status == 1 else "ended", Path(name).name, flush=True)


if __name__ == "__main__":
    main()
