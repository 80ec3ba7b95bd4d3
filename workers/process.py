"""A worker process: it serves its models' queues until SIGTERM, then drains."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import structlog
import uvloop
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from shared.catalog import Catalog
from shared.enduring import enduring
from shared.logs import configure_logs
from shared.redis import keys, queue, registry, scripts
from shared.redis.connection import connect
from shared.redis.outage import outage, patiently
from shared.schema.ids import new_id
from shared.schema.models import ModelCard
from shared.sealing import Sealer, sealer_of
from shared.settings import Settings
from workers.attempt import run_response
from workers.attendance import Attendance
from workers.count import count_tokens
from workers.engine.core import ModelLoadError
from workers.generate import Connect, Services
from workers.lease import Leases
from workers.load_marks import LoadMarks
from workers.mcp import Closings, load_sdk
from workers.models import Loader, Models, Served, served
from workers.outbox import Outbox
from workers.remote import connector
from workers.suspects import Suspects
from workers.templates import Templates
from workers.worker import QueueWorker

log = structlog.get_logger()

STOP_SECONDS = 4.0  # what a process that stops may take behind its DRAIN_SECONDS
SESSIONS_SECONDS = 0.5  # of these, for telling MCP servers that their sessions end
THREAD_SECONDS = 1.0  # then, for a model that is being loaded or a long step of llama.cpp: nobody waits for them
COUNTS_AT_ONCE = 2  # of each model: they take time from what is generated
COUNT_POLLS = 4  # somebody looks for counts that nobody was woken for so many times more rarely than for jobs
RETIRE_SECONDS = 0.5  # with Redis away: a process that stops has little time


def run(settings: Settings) -> None:
    """Runs a worker until it is told to stop. Raises ModelNotFoundError for a name in MODELS that means nothing."""
    from workers.engine.engine import load_engine  # llama.cpp takes a while to import

    configure_logs(settings, "worker")
    models = served(Catalog(settings.models_dir), settings.models)
    uvloop.run(serve(settings, models, load_engine))


async def serve(settings: Settings, models: list[Served], loader: Loader) -> None:
    """Serves `models` until SIGTERM, SIGINT or cancellation. The process ends soon after, whatever its threads do."""
    process = WorkerProcess(settings, models, loader)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    starting, stopping = asyncio.create_task(process.start()), asyncio.create_task(stop.wait())
    status = 1
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            await starting
            await stopping
        status = 0
    finally:
        last = _end_process_in(settings.drain_seconds + STOP_SECONDS, status)
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await process.stop()
        last.cancel()
        _end_process_in(THREAD_SECONDS, status)


def _end_process_in(seconds: float, status: int) -> threading.Timer:
    """The interpreter waits for all threads before it ends, and no call of llama.cpp can be interrupted."""

    def end() -> None:
        log.warning("worker_ended", reason="something that it was doing did not stop", status=status)
        os._exit(status)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


class WorkerProcess:
    """One connection pool, one set of leases, one outbox; a QueueWorker for each model."""

    def __init__(
        self, settings: Settings, models: list[Served], loader: Loader, templates: Templates | None = None
    ) -> None:
        self.id = f"{socket.gethostname()}:{os.getpid()}:{new_id('w')[2:10]}"
        self._settings = settings
        self._redis: ArqRedis = connect(settings.redis_url, settings.redis_timeout_seconds)
        self._leases = Leases(self._redis, settings.lease_seconds)
        self._suspects = Suspects()
        self._outbox = Outbox(self._redis)
        self._attendance = Attendance(self._redis, settings.lease_seconds)
        self.models = Models(
            models, settings, loader, templates, LoadMarks(self._redis, self.id, settings.lease_seconds)
        )
        self._closings = Closings()
        sealer = sealer_of(settings.encryption_key)
        self._services = Services(
            self._redis,
            settings,
            self.models,
            self._outbox,
            self._leases,
            self._suspects,
            self._attendance,
            self._served_elsewhere,
            sealer,
            _connect(settings, sealer, self._closings),
        )
        self._room = asyncio.Event()  # a worker has room again
        self._leases.on_room = self._look_for_jobs
        self._workers = {queue.model: queue for entry in models for queue in self._queues(entry.variant.id)}
        defaults = {entry.variant.model: entry.variant.id for entry in models if entry.default}
        self._preload = defaults.get(settings.default_model)
        self._announcers: list[asyncio.Task[None]] = []  # of the worker's card
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: asyncio.Task[None] | None = None
        self._remembered: list[ModelCard] = []  # as the registry was last told
        self._remember_at = 0.0

    async def start(self) -> None:
        """Waits for Redis, loads the default model if it is served here, and begins to take jobs."""
        await patiently(lambda: scripts.load(self._redis), "start")
        if self._settings.allow_remote_mcp:
            await load_sdk()
        await self.models.recall()
        if self._preload:
            try:
                async with self.models.use(self._preload):
                    pass
            except ModelLoadError:
                pass  # it has been logged, and the card says so
        self._outbox.start()
        self._leases.start()
        self._attendance.start()
        await patiently(self.announce, "start")
        self._listener = asyncio.create_task(enduring(self._listen, "listener"))
        self._announcers = [
            asyncio.create_task(enduring(loop, loop.__qualname__)) for loop in (self._heartbeat, self._mend)
        ]
        loops = [worker.main for worker in self._workers.values()]
        self._tasks = [asyncio.create_task(enduring(loop, loop.__qualname__)) for loop in loops]
        log.info("worker_ready", worker=self.id, models=[card.id for card in self.models.cards()])

    async def stop(self) -> None:
        """Takes no more jobs, lets those that run end for DRAIN_SECONDS, gives the others back."""
        log.info("worker_draining", worker=self.id, running=self.running)
        drained = time.monotonic() + self._settings.drain_seconds
        try:
            async with asyncio.timeout(RETIRE_SECONDS):
                await _ended(self._announcers)
                await registry.retire(self._redis, self.id)
        except (RedisError, OSError) as error:  # the card expires by itself
            log.warning("not_retired", outage=outage(error), error=str(error))
        if self._listener:  # first of all, so that it takes no wake-up from another process
            await _ended([self._listener])
        left = max(drained - time.monotonic(), 0)
        await asyncio.gather(*(worker.drain(left) for worker in self._workers.values()))
        await _ended(self._tasks)
        await self._closings.end(SESSIONS_SECONDS)
        await self._attendance.close()
        await self._leases.close()
        await self._outbox.close()
        await self.models.close()
        await self._redis.aclose(close_connection_pool=True)
        log.info("worker_stopped", worker=self.id)

    @property
    def running(self) -> int:
        return sum(worker.running for worker in self._workers.values())

    def _queues(self, model: str) -> tuple[QueueWorker, QueueWorker]:
        """What takes the jobs of a model, and what takes its token counts: those wait for no slot."""

        async def generate(response_id: str, *, job_try: int) -> None:
            await run_response(self._services, response_id, job_try)

        async def count(request_id: str, question: bytes, *, job_try: int) -> None:
            await count_tokens(self._services, model, request_id, question, job_try)

        settings = self._settings
        worker = partial(
            QueueWorker,
            redis=self._redis,
            leases=self._leases,
            suspects=self._suspects,
            functions={queue.GENERATE: generate, queue.COUNT_TOKENS: count},  # older front ends' counts wait for slots
            most_aside=settings.mcp_jobs_aside,
            job_timeout_seconds=settings.job_timeout_seconds,
            on_room=self._room.set,
        )
        return (
            worker(model, slots=settings.slots, poll_seconds=settings.poll_seconds),
            worker(keys.counts(model), slots=COUNTS_AT_ONCE, poll_seconds=COUNT_POLLS * settings.poll_seconds),
        )

    def _look_for_jobs(self) -> None:
        for worker in self._workers.values():
            worker.wake()

    async def announce(self) -> None:
        settings = self._settings
        card = registry.WorkerCard(
            id=self.id,
            models=self.models.cards(),
            running=self.running,
            slots=settings.slots,
            aside={model: worker.aside for model, worker in self._workers.items() if worker.aside},
            seconds={model: seconds for model, worker in self._workers.items() if (seconds := worker.pace.seconds)},
        )
        await registry.announce(self._redis, card, 3 * settings.heartbeat_seconds)
        if card.models != self._remembered or time.monotonic() > self._remember_at:
            await registry.remember(self._redis, card.models)
            self._remembered = card.models
            self._remember_at = time.monotonic() + registry.REMEMBERED_SECONDS / 10

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            try:
                await self.announce()
            except RedisError as error:
                log.warning("heartbeat_failed", outage=outage(error), error=str(error))

    async def _mend(self) -> None:
        """Tries broken models again, and says at once what came of it."""
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            try:
                if await self.models.mend():
                    await self.announce()
                await self._look_around()
            except RedisError as error:
                log.warning("not_looked_around", outage=outage(error), error=str(error))

    async def _look_around(self) -> None:
        """Leaves the jobs of models that cannot be loaded here to the workers that have them."""
        broken, elsewhere = self.models.broken, set[str]()
        if broken:
            others = (card for card in await registry.live_workers(self._redis) if card.id != self.id)
            elsewhere = {model.id for card in others for model in card.models if model.state != "unavailable"}
        for model in (card.id for card in self.models.cards()):
            for name in (model, keys.counts(model)):
                self._workers[name].paused = model in broken and model in elsewhere

    async def _served_elsewhere(self, model: str) -> bool:
        """A model could not be loaded here: tells everybody; whether another worker serves it."""
        await patiently(self.announce, "announce")
        await patiently(self._look_around, "announce")
        return self._workers[model].paused

    async def _listen(self) -> None:
        """Waits for wake-ups of all queues at once: each element wakes one worker, and polling is the safety net."""
        while True:
            self._room.clear()
            names = [keys.wake(model) for model, worker in self._workers.items() if worker.has_room]
            if not names:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.poll_seconds):
                        await self._room.wait()
                continue
            try:
                if popped := await queue.pop(self._redis, names):
                    await self._wake(popped[0].removeprefix(keys.wake("")), popped[1])
            except RedisError as error:
                log.warning("not_listening", outage=outage(error), error=str(error))
                await asyncio.sleep(self._settings.poll_seconds)

    async def _wake(self, model: str, job_id: bytes) -> None:
        """Wakes the worker of a model; where it has just become full, the wake-up is for another process."""
        if self._workers[model].has_room:
            self._workers[model].wake()
        else:
            await queue.pass_on(self._redis, model, job_id)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels tasks and waits for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _connect(settings: Settings, sealer: Sealer | None, closings: Closings) -> Connect | None:
    if not settings.allow_remote_mcp:
        return None
    return connector(settings, sealer, closings)
