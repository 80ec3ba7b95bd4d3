"""Cancelling or deleting a response: one that waits, one that runs, one that a lost worker has left behind."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from redis.asyncio import Redis

from api.ending import LEASE_MS, end
from shared.redis import records
from shared.settings import Settings


async def cancel(
    redis: Redis, settings: Settings, response_id: str, owner: str, token: str | None = None
) -> str | None:
    """Cancels a response; returns the status it had, or None when this owner has no such response.

    A worker that runs it sees the wish with its next event or renewal. One that nobody runs is ended here and now.
    `token` is of the lease that it takes then: who cancels again, having lost the answer, does it with the same.
    """
    token = token or secrets.token_hex(8)
    wish = await records.cancel(redis, response_id, owner, token, LEASE_MS)
    if wish is None:
        return None
    if wish.leased:
        await end(redis, settings, response_id, token, lambda emitter: emitter.cancel(None))
    return wish.status


def cancelling(
    redis: Redis, settings: Settings, response_id: str, owner: str
) -> Callable[[], Coroutine[Any, Any, str | None]]:
    """`cancel` as a chore, which may be done again and again."""
    token = secrets.token_hex(8)
    return lambda: cancel(redis, settings, response_id, owner, token)


async def delete(redis: Redis, settings: Settings, response_id: str, owner: str) -> bool:
    """Deletes a response, and cancels one that has not ended, as `cancel` does; False when this owner has none."""
    token = secrets.token_hex(8)
    deletion = await records.delete(redis, response_id, owner, token, LEASE_MS)
    if deletion is None:
        return False
    if deletion.leased:
        await end(redis, settings, response_id, token, lambda emitter: emitter.cancel(None))
    return True
