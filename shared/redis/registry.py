"""Which workers live and what they serve. A worker writes its card with every heartbeat; a card that stops expires."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from shared.redis import keys, scripts
from shared.schema.models import ModelCard


class WorkerCard(Struct, kw_only=True):
    id: str
    models: list[ModelCard]
    running: int  # jobs now
    slots: int  # jobs at once, for each model
    aside: dict[str, int] = {}  # jobs of a model that take no slot at the moment
    seconds: dict[str, float] = {}  # how long a job of a model takes these days, where one has been run


REMEMBERED_SECONDS = 3600  # how long a model is known after its last worker has gone

_decoder = msgspec.json.Decoder(WorkerCard)
_model = msgspec.json.Decoder(ModelCard)


async def announce(redis: Redis, card: WorkerCard, ttl_seconds: float) -> None:
    """Says that a worker lives, for `ttl_seconds`. A full Redis refuses the new card, and keeps the old one as long."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.pexpire(keys.worker(card.id), int(ttl_seconds * 1000))
        pipeline.set(keys.worker(card.id), msgspec.json.encode(card), px=int(ttl_seconds * 1000))
        pipeline.sadd(keys.WORKERS, card.id)
        await pipeline.execute()


async def remember(redis: Redis, cards: Sequence[ModelCard]) -> None:
    """Makes models known beyond their workers' lives, for REMEMBERED_SECONDS."""
    async with redis.pipeline(transaction=False) as pipeline:
        for card in cards:
            pipeline.set(keys.model(card.id), msgspec.json.encode(card), ex=REMEMBERED_SECONDS)
            pipeline.sadd(keys.MODELS, card.id)
        await pipeline.execute()


async def remembered_models(redis: Redis) -> list[ModelCard]:
    """The models that workers serve or have served of late."""
    cards: list[bytes] = await scripts.WORKERS.call(redis, [keys.MODELS], [keys.MODEL_PREFIX])
    return [_model.decode(card) for card in cards]


async def retire(redis: Redis, worker_id: str) -> None:
    """Says that a worker takes no more jobs."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.delete(keys.worker(worker_id))
        pipeline.srem(keys.WORKERS, worker_id)
        await pipeline.execute()


async def live_workers(redis: Redis) -> list[WorkerCard]:
    """The cards of all live workers."""
    cards: list[bytes] = await scripts.WORKERS.call(redis, [keys.WORKERS], [keys.WORKER_PREFIX])
    return [_decoder.decode(card) for card in cards]
