"""A model whose load ends the process: the next process knows, says so, and serves the others."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import workers.models
from shared.catalog import Catalog
from shared.redis import keys, loads
from shared.settings import REPOSITORY_MODELS, Settings
from tests.conftest import StackFactory
from tests.stack import MODEL, TEMPLATES
from tests.waiting import until
from tests.workers.test_broken_models import OTHER, ask, both, until_served
from workers.engine.core import Engine
from workers.engine.scripted import Script, ScriptedEngine
from workers.load_marks import ELSEWHERE, LoadMarks, Past
from workers.models import LOST, Models, served
from workers.process import WorkerProcess

HOST = socket.gethostname()
LEASE = 30.0  # no mark gets stale by itself
SHORT_LEASE = 3.0
DEMO, SECOND = (next(entry.variant.id for entry in both() if entry.variant.model == model) for model in (MODEL, OTHER))


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid


@pytest.fixture
def alive() -> Iterator[int]:
    """The number of another process, which runs."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield child.pid
    child.communicate()


class Loads:
    """A loader of scripted engines that counts what it is asked for, and may be held up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, path: Path, *_: Any) -> Engine:
        self.asked.append(path.parent.name)
        assert self.go_on.wait(20)
        return ScriptedEngine(Script("ok"))


def version(models: Models, model: str = DEMO) -> str:
    """As the marks name a model's file."""
    return models._version(model, workers.models._file(models._served[model].variant.path))


def a_worker(make_stack: StackFactory) -> Callable[..., Any]:
    async def make(loader: Loads, **settings: Any) -> Any:
        settings = {"heartbeat_seconds": 3600.0, "lease_seconds": LEASE, "default_model": "none/none"} | settings
        stack = await make_stack(workers=0, **settings)
        return stack, await stack.add_worker(loader, both())

    return make


async def lose(redis: Redis, process: WorkerProcess, pid: int, host: str = HOST) -> None:
    """A process begins to load the demo model, and ends in the middle of it."""
    await loads.sign(redis, version(process.models), f"{host}:{pid}:gone")


async def test_the_next_process_does_not_try_what_has_ended_one(
    make_stack: StackFactory, redis: Redis, gone: int
) -> None:
    stack, first = await a_worker(make_stack)(Loads())
    await lose(redis, first, gone)
    await stack.workers.pop().stop()
    loader = Loads()
    await stack.add_worker(loader, both())
    status, body = await ask(stack)
    assert (status, body["error"]["code"]) == (503, "model_unavailable")
    assert LOST in body["error"]["message"]
    assert (await ask(stack, OTHER))[0] == 200
    assert loader.asked == ["spark-oss"]


async def test_a_job_that_a_lost_process_leaves_behind_ends_with_the_reason(
    make_stack: StackFactory, redis: Redis, gone: int
) -> None:
    """This worker came up before the other one was lost, so front ends still take the request."""
    loader = Loads()
    stack, worker = await a_worker(make_stack)(loader)
    await lose(redis, worker, gone)
    status, body = await ask(stack)
    assert status == 500
    assert LOST in body["error"]["message"]
    assert loader.asked == []


async def test_what_another_live_process_loads_is_not_lost(make_stack: StackFactory, redis: Redis, alive: int) -> None:
    stack, worker = await a_worker(make_stack)(Loads())
    await lose(redis, worker, alive)
    assert (await ask(stack))[0] == 200


async def test_a_process_of_the_same_number_is_another_one(redis: Redis) -> None:
    """In a container that was started again, the worker may well have the same number; so may one that runs beside us
    in a container of the same host name, and that one says again and again that it loads."""
    marks = LoadMarks(redis, f"{HOST}:1:me", lease_seconds=LEASE)
    await loads.sign(redis, "file", f"{HOST}:1:other")
    assert await marks.past(["file"]) == [Past(0, True)]
    now = (await redis.time())[0]
    await redis.hset(keys.loads("file"), f"loading:{HOST}:1:other", str(int(1000 * (now - LEASE / 2))))  # type: ignore[misc]
    assert await marks.past(["file"]) == [Past(1, False)]


async def test_another_hosts_loss_is_known_when_its_mark_is_stale(redis: Redis) -> None:
    marks = LoadMarks(redis, f"{HOST}:1:me", lease_seconds=SHORT_LEASE)
    await loads.sign(redis, "file", "elsewhere:1:x")
    assert await marks.past(["file"]) == [Past(0, True)]
    async with asyncio.timeout(30):
        while (past := (await marks.past(["file"]))[0]).tried:
            await asyncio.sleep(0.05)
    assert past == Past(1, False)
    assert await redis.ttl(keys.loads("file")) > 0


async def test_a_mark_is_renewed_while_the_load_takes(redis: Redis) -> None:
    loading = LoadMarks(redis, "elsewhere:1:x", lease_seconds=SHORT_LEASE)
    async with loading.loading("file"):
        [before] = await loads.read(redis, ["file"])
        async with asyncio.timeout(30):
            while True:
                [now] = await loads.read(redis, ["file"])
                if now.loading["elsewhere:1:x"] < before.loading["elsewhere:1:x"]:
                    break
                before = now
    [after] = await loads.read(redis, ["file"])
    assert (after.loading, after.lost) == ({}, {"elsewhere": loads.LOADED})


async def test_several_lost_at_once_count_once_and_each_only_once(redis: Redis, gone: int) -> None:
    marks = LoadMarks(redis, f"{HOST}:1:me", lease_seconds=LEASE)
    for name in ("a", "b", "c"):
        await loads.sign(redis, "file", f"{HOST}:{gone}:{name}")
    assert await asyncio.gather(marks.past(["file"]), marks.past(["file", "other"])) == [
        [Past(1, False)],
        [Past(1, False), Past(0, False)],
    ]
    assert await marks.past(["file"]) == [Past(1, False)]


async def test_what_has_been_loaded_before_may_be_lost_once(redis: Redis, gone: int) -> None:
    """Somebody kills a worker while it loads a model that is known to be good."""
    marks = LoadMarks(redis, f"{HOST}:1:me", lease_seconds=LEASE)
    async with marks.loading("file"):
        pass
    for lost in (0, 1, 2):
        await loads.sign(redis, "file", f"{HOST}:{gone}:x")
        assert await marks.past(["file"]) == [Past(lost, False)]
    async with marks.loading("file"):
        pass
    assert await marks.past(["file"]) == [Past(loads.LOADED, False)]


async def test_other_hosts_losses_count_little_and_not_where_it_was_loaded(redis: Redis) -> None:
    for host in ("a", "b", "c"):
        await loads.sign(redis, "file", f"{host}:1:x")
        await loads.count_lost(redis, "file", [(f"{host}:1:x", host)])
    fresh = LoadMarks(redis, f"{HOST}:1:me", lease_seconds=LEASE)
    assert await fresh.past(["file"]) == [Past(ELSEWHERE, False)]
    async with fresh.loading("file"):
        pass
    await loads.sign(redis, "file", "a:1:x")
    await loads.count_lost(redis, "file", [("a:1:x", "a")])
    assert await fresh.past(["file"]) == [Past(loads.LOADED, False)]


@pytest.mark.usefixtures("lasting_cards")
async def test_it_is_tried_again_after_a_pause_while_nothing_runs(
    make_stack: StackFactory, redis: Redis, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.models, "FIRST_PAUSE_AFTER_LOSS_SECONDS", 0.2)
    loader = Loads()
    stack, worker = await a_worker(make_stack)(loader, heartbeat_seconds=0.1)
    models = worker.models
    await lose(redis, worker, gone)
    async with models.use(SECOND):
        await models.recall()
        assert models.broken == {DEMO}
        async with asyncio.timeout(30):
            while models._broken[DEMO].until > asyncio.get_running_loop().time():
                await asyncio.sleep(0.01)
        assert not await models.mend()  # somebody reads what the other model says
    await until_served(stack)
    assert loader.asked == ["spark-oss", "spark"]
    [known] = await loads.read(redis, [version(models)])
    assert known.lost == {HOST: loads.LOADED}


async def test_a_second_loss_doubles_the_pause(make_stack: StackFactory, redis: Redis, gone: int) -> None:
    _, worker = await a_worker(make_stack)(Loads())
    pauses = []
    for _ in range(6):
        await lose(redis, worker, gone)
        worker.models._broken.clear()
        await worker.models.recall()
        pauses.append(worker.models._broken[DEMO].pause)
    assert pauses == [60, 120, 240, 480, 600, 600]


async def test_two_do_not_try_at_the_same_time_what_has_ended_a_process(
    make_stack: StackFactory, redis: Redis, gone: int, alive: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.models, "FIRST_PAUSE_AFTER_LOSS_SECONDS", 0.0)
    loader = Loads()
    _, worker = await a_worker(make_stack)(loader)
    await lose(redis, worker, gone)
    await worker.models.recall()
    await loads.sign(redis, version(worker.models), f"{HOST}:{alive}:x")
    assert await worker.models.mend()
    assert (loader.asked, worker.models.broken) == ([], {DEMO})


@pytest.mark.usefixtures("lasting_cards")
async def test_another_file_is_another_story(make_stack: StackFactory, redis: Redis, gone: int, tmp_path: Path) -> None:
    file = tmp_path / "me" / "it" / "it-Q8_0.gguf"
    file.parent.mkdir(parents=True)
    shutil.copy(next((REPOSITORY_MODELS / MODEL).glob("*Q8_0*.gguf")), file)
    stack = await make_stack(workers=0, models_dir=tmp_path, heartbeat_seconds=0.1, lease_seconds=LEASE)
    worker = await stack.add_worker(Loads(), served(Catalog(tmp_path, {}), ()))
    await loads.sign(redis, version(worker.models, "me/it@q8_0"), f"{HOST}:{gone}:x")
    await worker.models.recall()
    assert worker.models.broken == {"me/it@q8_0"}
    os.utime(file, ns=(1, 1))
    await until_served(stack, "me/it")


async def test_a_load_goes_on_when_nobody_waits_for_it(make_stack: StackFactory) -> None:
    """Else its mark would go while it may still end the process, and its engine would be nobody's."""
    loader = Loads()
    loader.go_on.clear()
    stack, worker = await a_worker(make_stack)(loader)
    asking = asyncio.create_task(stack.post(model=MODEL, input="Hi"))
    await until(lambda: bool(loader.asked))
    asking.cancel()
    await until(lambda: worker.running == 0)
    loader.go_on.set()
    assert (await ask(stack))[0] == 200
    assert loader.asked == ["spark"]


async def test_a_worker_that_is_stopped_while_it_loads_loses_nothing(make_stack: StackFactory, redis: Redis) -> None:
    loader = Loads()
    loader.go_on.clear()
    stack, worker = await a_worker(make_stack)(loader)
    asking = asyncio.create_task(stack.post(model=MODEL, input="Hi"))
    await until(lambda: bool(loader.asked))
    [known] = await loads.read(redis, [version(worker.models)])
    assert known.loading.keys() == {worker.id}
    await stack.workers.pop().stop()
    assert await loads.read(redis, [version(worker.models)]) == [loads.Loads()]
    loader.go_on.set()
    asking.cancel()


async def test_with_redis_away_models_are_loaded_all_the_same() -> None:
    away = LoadMarks(Redis(port=1), f"{HOST}:1:me", lease_seconds=LEASE)
    assert await away.past(["file"]) == [Past(0, False)]
    async with away.loading("file"):
        pass
    await away.close()


async def test_who_waited_for_a_model_has_it_before_another_one_takes_its_place() -> None:
    loader = Loads()
    loader.go_on.clear()
    models = Models(both(), Settings(max_loaded_models=1), loader, TEMPLATES)

    async def use(model: str) -> bool:
        async with models.use(model) as loaded:
            return loaded is models._loaded.get(model)

    uses = [asyncio.create_task(use(model)) for model in (DEMO, SECOND)]
    await until(lambda: bool(loader.asked))
    loader.go_on.set()
    assert await asyncio.gather(*uses) == [True, True]
    await models.close()


async def test_what_another_worker_of_this_process_loads_is_not_lost(redis: Redis) -> None:
    mine, other = (LoadMarks(redis, f"{HOST}:{os.getpid()}:{name}", lease_seconds=LEASE) for name in ("a", "b"))
    async with mine.loading("file"):
        assert await other.past(["file"]) == [Past(0, True)]
    await mine.close()
    await other.close()
