"""Cancelling or deleting a response: one that waits, one that runs, one that a lost worker has left behind."""

from __future__ import annotations

import secrets

from redis.asyncio import Redis

from api.ending import LEASE_MS, end
from shared.redis import records
from shared.settings import Settings


async def cancel(redis: Redis, settings: Settings, response_id: str, owner: str) -> str | None:
    """Cancels a response; returns the status it had, or None when this owner has no such response.

    A worker that runs it sees the wish with its next event or renewal. One that nobody runs is ended here and now.
    """
    token = secrets.token_hex(8)
    wish = await records.cancel(redis, response_id, owner, token, LEASE_MS)
    if wish is None:
        return None
    if wish.leased:
        await end(redis, settings, response_id, token, lambda emitter: emitter.cancel(None))
    return wish.status


async def delete(redis: Redis, settings: Settings, response_id: str, owner: str) -> bool:
    """Deletes a response, and cancels one that has not ended, as `cancel` does; False when this owner has none."""
    token = secrets.token_hex(8)
    deletion = await records.delete(redis, response_id, owner, token, LEASE_MS)
    if deletion is None:
        return False
    if deletion.leased:
        await end(redis, settings, response_id, token, lambda emitter: emitter.cancel(None))
    return True
