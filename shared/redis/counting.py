"""Token counts: a front end asks, a worker that has the model answers with the very prompt a generation would use."""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

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


async def ask(redis: Redis, model: str, question: Question, timeout: float, terms: Terms) -> Answer | None:
    """A worker's answer; None when none came within `timeout` seconds. Raises Refused."""
    request_id = new_id("count")
    encoded = msgspec.json.encode(question)
    await queue.enqueue(redis, model, request_id, terms, queue.COUNT_TOKENS, request_id, encoded)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if reply := await queue.pop(redis, [keys.reply(request_id)]):
            return msgspec.json.decode(reply[1], type=Answer)
    return None


async def answer(redis: Redis, request_id: str, answer: Answer) -> None:
    """Answers a question."""
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.rpush(keys.reply(request_id), msgspec.json.encode(answer))
        pipeline.expire(keys.reply(request_id), ANSWER_TTL_SECONDS)
        await pipeline.execute()
