"""Ending a response that somebody does not want any more: queued, running, or left behind by a lost worker."""

from __future__ import annotations

import secrets

from redis.asyncio import Redis

from shared.emitter import Emitter
from shared.redis import event_log, records
from shared.settings import Settings

LEASE_MS = 5000
UNSTORED_GRACE_SECONDS = 60


async def cancel(redis: Redis, settings: Settings, response_id: str, owner: str) -> str | None:
    """Cancels a response; returns the status it had, or None when this owner has no such response.

    A worker that runs it sees the wish with its next event or renewal. One that nobody runs is ended here and now.
    """
    token = secrets.token_hex(8)
    wish = await records.cancel(redis, response_id, owner, token, LEASE_MS)
    if wish is None:
        return None
    if wish.leased:
        await _end(redis, settings, response_id, token)
    return wish.status


async def _end(redis: Redis, settings: Settings, response_id: str, token: str) -> None:
    context = await records.read_context(redis, response_id)
    if context is None:
        return
    log = await event_log.read_all(redis, response_id)
    emitter = Emitter.restore(context.response, [entry.event for entry in log], obfuscate=context.generation.obfuscate)
    emitter.cancel(None)
    await event_log.finish(
        redis,
        context.response,
        context.generation.model,
        token,
        len(log),
        emitter.take(),
        record_ttl_seconds=settings.response_ttl_seconds,
        log_ttl_seconds=settings.event_log_ttl_seconds if context.response.store else UNSTORED_GRACE_SECONDS,
        conversation_ttl_seconds=settings.conversation_ttl_seconds,
    )
