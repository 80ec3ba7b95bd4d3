"""One worker's try at a response: whatever happens, the response ends, or it is left to somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import structlog
from redis.exceptions import RedisError

from shared.emitter import Emitter
from shared.redis import event_log, queue, records
from shared.redis.outage import outage, patiently
from shared.schema.events import is_terminal
from shared.schema.response import Response
from workers.generate import Job, LeaseLost, NotHere, Services, log_ttl_seconds

log = structlog.get_logger()

MAX_TRIES = queue.SUSPECT_LOSSES + 1  # a job that took this many workers down is not given to another one
REFUSED = "The state store refused the end of this response."


class Stuck(Exception):
    """This worker can neither run nor end the response: it is left to its lease, after which another one may try."""


async def run_response(services: Services, response_id: str, job_try: int) -> None:
    """Generates one response to its end. Raises LeaseLost, NotHere, Stuck, and RedisError in an outage."""
    token = services.leases.token(response_id)
    try:
        job = await _open(services, response_id, token)
        if job is not None:
            await _run(services, job, job_try)
    except Stuck:
        if job_try <= MAX_TRIES:
            raise
        log.error("response_discarded", response_id=response_id)
        if not await records.discard(services.redis, response_id, token):  # who follows it is told that it is gone
            raise LeaseLost from None


async def _open(services: Services, response_id: str, token: str) -> Job | None:
    """The job as the last worker left it; None where it was deleted before it began, or has ended. Raises Stuck."""
    try:
        context = await records.read_context(services.redis, response_id)
        if context is None:
            return None
        return Job(services, context, token, await event_log.read_all(services.redis, response_id))
    except Exception as error:
        if outage(error):
            raise
        log.exception("response_unreadable", response_id=response_id)
        raise Stuck from error


async def _run(services: Services, job: Job, job_try: int) -> None:
    """Whatever happens, the response ends, or it is somebody else's. Raises LeaseLost, NotHere, Stuck."""
    try:
        if job_try > MAX_TRIES:
            job.fail(f"The response was given up: {MAX_TRIES} workers were lost while they generated it.")
            await job.finish()
            return
        async with _cleared(services, job, job_try):
            with services.attendance.watched(job.id, job.front, job.leave):
                await job.run()
    except (LeaseLost, NotHere):
        raise
    except Exception as error:
        if outage(error):
            raise
        log.exception("end_refused", response_id=job.id)
        await job.silence()
        await _end_as_failed(services, job.id, job.token)


@asynccontextmanager
async def _cleared(services: Services, job: Job, job_try: int) -> AsyncIterator[None]:
    """Forgets meanwhile, as soon as the response has gone on, the workers that were lost with it: it did not end them.

    Only then, for what is known of it in Redis counts should this worker be lost too, another suspect is let in.
    """

    async def clear() -> None:
        await job.progress()
        try:
            if await patiently(lambda: queue.set_back(services.redis, job.id, job.token), "set back"):
                log.info("losses_forgotten", response_id=job.id, job_try=job_try)
        except RedisError as error:
            log.warning("losses_not_forgotten", response_id=job.id, error=str(error))
        services.suspects.clear(job.id, job.token)

    task = asyncio.create_task(clear()) if job_try > 1 else None
    try:
        yield
    finally:
        if task:
            task.cancel()


class _End(msgspec.Struct):
    """What matters here of a terminal event."""

    response: Response


_decode_end = msgspec.json.Decoder(_End).decode


async def _end_as_failed(services: Services, response_id: str, token: str) -> None:
    """Ends a response by its log alone, outside its conversation, unless it turns out to have ended.

    Raises LeaseLost, and Stuck where that is refused as well.
    """

    async def end() -> bool:
        context = await records.read_context(services.redis, response_id)
        if context is None:
            return True
        log = await event_log.read_all(services.redis, response_id)
        if log and is_terminal(log[-1].event):
            response = _decode_end(log[-1].event).response
            first, events = len(log) - 1, [log[-1].event]  # told again, not logged again
        else:
            emitter = Emitter.restore(context.response, [entry.event for entry in log])
            emitter.fail("server_error", REFUSED)
            response = context.response
            first, events = len(log), emitter.take()
        return await event_log.finish(
            services.redis,
            response,
            context.generation.model,
            token,
            first,
            events,
            record_ttl_seconds=services.settings.response_ttl_seconds,
            log_ttl_seconds=log_ttl_seconds(response, services.settings),
            alone=True,
        )

    try:
        ended = await patiently(end, "failed end")
    except Exception as error:
        log.error("failed_end_refused", response_id=response_id, error=repr(error))
        raise Stuck from error
    if not ended:
        raise LeaseLost
