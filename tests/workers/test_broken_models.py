"""A model that cannot be loaded: it is said to be unavailable and why, other models serve on, and it is tried again."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workers.models
from shared.catalog import Catalog
from shared.settings import REPOSITORY_MODELS
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.wire import text_of
from workers.engine.core import Engine, ModelLoadError
from workers.engine.engine import load_engine
from workers.engine.scripted import Script, ScriptedEngine
from workers.models import Served, served

pytestmark = pytest.mark.usefixtures("lasting_cards")
OTHER = "llamarelay/spark-oss"
OUT_OF_MEMORY = "unable to allocate CPU buffer"


def loader(broken: set[str], says: str = "ok") -> Callable[..., Engine]:
    """Loads a scripted engine, but for the models that are `broken` now."""

    def load(path: Path, *_: Any) -> Engine:
        if path.parent.name in broken:
            raise ModelLoadError(path, OUT_OF_MEMORY)
        return ScriptedEngine(Script(says))

    return load


def both() -> list[Served]:
    return served(Catalog(REPOSITORY_MODELS, {}), (MODEL, OTHER))


async def ask(stack: Stack, model: str = MODEL) -> tuple[int, Any]:
    return await stack.post(model=model, input="Hi")


async def until_unavailable(stack: Stack, model: str = MODEL) -> dict[str, Any]:
    """What requests are told at the door once front ends know."""
    async with asyncio.timeout(30):
        while (answer := await ask(stack, model))[1]["error"]["code"] != "model_unavailable":
            await asyncio.sleep(0.05)
    assert answer[0] == 503
    error: dict[str, Any] = answer[1]["error"]
    return error


async def until_served(stack: Stack, model: str = MODEL) -> None:
    async with asyncio.timeout(30):
        while (await ask(stack, model))[0] != 200:
            await asyncio.sleep(0.05)


async def test_a_model_out_of_memory_is_unavailable_and_the_other_serves_on(
    make_stack: StackFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.models, "FIRST_PAUSE_SECONDS", 0.5)
    stack = await make_stack(workers=0, heartbeat_seconds=0.5, default_model="none/none")
    broken = {"spark"}
    await stack.add_worker(loader(broken), both())
    status, body = await ask(stack)
    assert status == 500
    assert OUT_OF_MEMORY in body["error"]["message"]
    assert OUT_OF_MEMORY in (await until_unavailable(stack))["message"]
    assert (await ask(stack, OTHER))[0] == 200
    broken.clear()
    await until_served(stack)


async def test_each_failed_try_doubles_the_pause(make_stack: StackFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.models, "FIRST_PAUSE_SECONDS", 0.05)
    stack = await make_stack(workers=0, heartbeat_seconds=0.3, default_model="none/none")
    worker = await stack.add_worker(loader({"spark"}), both())
    assert (await ask(stack))[0] == 500
    async with asyncio.timeout(30):
        while (pause := next(iter(worker.models._broken.values())).pause) < 0.4:
            await asyncio.sleep(0.01)
    assert pause in (0.4, 0.8)


async def test_whatever_a_load_raises_breaks_that_model_alone(make_stack: StackFactory) -> None:
    def load(path: Path, *_: Any) -> Engine:
        if path.parent.name == "spark":
            raise MemoryError("no room")
        return ScriptedEngine(Script("ok"))

    stack = await make_stack(workers=0, heartbeat_seconds=0.5)
    await stack.add_worker(load, both())
    assert "MemoryError: no room" in (await until_unavailable(stack))["message"]
    assert (await ask(stack, OTHER))[0] == 200


async def test_a_worker_that_cannot_load_a_model_leaves_its_jobs_to_one_that_can(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0, heartbeat_seconds=0.5, default_model="none/none", slots=2)
    first = await stack.add_worker(loader({"spark"}), both())
    second = await stack.add_worker(loader(set(), "from the other"), both())
    for _ in range(6):
        status, body = await ask(stack)
        assert (status, text_of(body)) == (200, "from the other")
    await stack.workers.pop(stack.workers.index(second)).stop()
    assert OUT_OF_MEMORY in (await until_unavailable(stack))["message"]
    assert first.models.broken == {next(entry.variant.id for entry in both() if entry.variant.model == MODEL)}


async def test_a_broken_file_is_named_and_loaded_when_it_has_changed(make_stack: StackFactory, tmp_path: Path) -> None:
    """Real files and the real llama.cpp: one file is cut, one is of an architecture that does not exist."""
    good = next((REPOSITORY_MODELS / MODEL).glob("*Q8_0*.gguf"))
    files = {name: tmp_path / "me" / name / f"{name}-Q8_0.gguf" for name in ("cut", "odd", "whole")}
    for file in files.values():
        file.parent.mkdir(parents=True)
        shutil.copy(good, file)
    os.truncate(files["cut"], good.stat().st_size // 2)
    files["odd"].write_bytes(good.read_bytes().replace(b"qwen3", b"qwenX"))
    models = served(Catalog(tmp_path, {}), ())
    stack = await make_stack(workers=0, models_dir=tmp_path, heartbeat_seconds=0.5)
    await stack.add_worker(load_engine, models)
    status, body = await stack.post(model="me/cut", input="Hi")
    assert (status, body["error"]["code"]) == (503, "model_unavailable")
    assert "truncated" in body["error"]["message"]
    status, body = await stack.post(model="me/odd", input="Hi")
    assert status == 500
    assert "unknown model architecture" in body["error"]["message"]
    assert "unknown model architecture" in (await until_unavailable(stack, "me/odd"))["message"]
    assert (await stack.post(model="me/whole", input="Hi", max_output_tokens=4))[0] == 200
    for name in ("cut", "odd"):
        shutil.copy(good, files[name])
        await until_served(stack, f"me/{name}")
