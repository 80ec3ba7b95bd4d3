"""Token counts: a front end asks, a worker that has the model answers with the very prompt a generation would use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import cast

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.redis import keys, queue
from shared.redis.conversations import Opening
from shared.redis.queue import Terms
from shared.schema.ids import new_id
from shared.schema.items import Item
from shared.schema.tools import Tool, ToolChoice

ANSWER_TTL_SECONDS = 60


class Question(Struct, kw_only=True):
    """A prompt to be measured: what a conversation holds, stored ancestors by id, then the new items."""

    opening: Opening | None = None
    ancestors: list[str]
    owner: str
    input: list[Item]
    instructions: str | None
    effort: str | None
    tools: list[Tool] = []
    tool_choice: ToolChoice = "auto"
    truncate: bool = False
    max_output_tokens: int | None = None


class Answer(Struct, kw_only=True):
    tokens: int = 0
    context_length: int = 0
    error: str | None = None  # the template or the model refused
    lost: int = 0  # so many workers were lost while they measured it: it is given up


class NotMeasured(Exception):
    """No worker answered in time. `lost` were lost while they measured the input: it may be what ended them."""

    def __init__(self, lost: int) -> None:
        super().__init__(f"no worker answered in time, {lost} were lost")
        self.lost = lost


async def ask(
    redis: Redis, model: str, question: Question, terms: Terms, timeout: float, begin: float | None = None
) -> Answer:
    """A worker's answer. It is waited for `timeout` seconds, `begin` where no worker has begun with it by then; a
    question that nobody waits for any more is withdrawn. Raises Refused, NotMeasured."""
    request_id, counts = new_id("count"), keys.counts(model)
    encoded = msgspec.json.encode(question)
    began = time.monotonic()
    try:
        await queue.enqueue(redis, counts, request_id, terms, queue.COUNT_TOKENS, request_id, encoded)
        begun = begin is None
        while (waited := time.monotonic() - began) < timeout:
            if not begun and begin is not None and waited >= begin:
                begun = await _begun(redis, request_id)
                if not begun:
                    break
            if reply := await queue.pop(redis, [keys.reply(request_id)]):
                return msgspec.json.decode(reply[1], type=Answer)
    except asyncio.CancelledError:
        with suppress(RedisError):  # nobody begins with it after its time anyway
            await queue.withdraw(redis, counts, request_id, terms.owner)
        raise
    raise NotMeasured(await queue.withdraw(redis, counts, request_id, terms.owner))


async def _begun(redis: Redis, request_id: str) -> bool:
    """Whether a worker has ever begun with a question."""
    return await cast(Awaitable[int], redis.exists(keys.retry(request_id))) == 1


async def answer(redis: Redis, request_id: str, answer: Answer) -> None:
    """Answers a question."""
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.rpush(keys.reply(request_id), msgspec.json.encode(answer))
        pipeline.expire(keys.reply(request_id), ANSWER_TTL_SECONDS)
        await pipeline.execute()
