"""Ending a response that no worker runs: the caller holds its lease, and writes its end in a worker's stead."""

from __future__ import annotations

from collections.abc import Callable

from redis.asyncio import Redis

from shared.emitter import Emitter
from shared.redis import event_log, records
from shared.settings import Settings
from shared.turns import in_order

LEASE_MS = 5000  # within which the end is written, or somebody else may write it
UNSTORED_GRACE_SECONDS = 60


async def end(redis: Redis, settings: Settings, response_id: str, token: str, how: Callable[[Emitter], None]) -> bool:
    """Ends a response whose lease is held with `token`, by what `how` makes the emitter say. False: there is no such
    response, or it has ended."""
    context = await records.read_context(redis, response_id)
    if context is None:
        return False
    log = await event_log.read_all(redis, response_id)
    emitter = Emitter.restore(context.response, [entry.event for entry in log], obfuscate=context.generation.obfuscate)
    how(emitter)
    return await event_log.finish(
        redis,
        context.response,
        context.generation.model,
        token,
        len(log),
        emitter.take(),
        record_ttl_seconds=settings.response_ttl_seconds,
        log_ttl_seconds=settings.event_log_ttl_seconds if context.response.store else UNSTORED_GRACE_SECONDS,
        turn=in_order(context.input, context.response.output),
        begun=context.checkpoint.perhaps_made if context.checkpoint else (),
        conversation_ttl_seconds=settings.conversation_ttl_seconds,
    )
