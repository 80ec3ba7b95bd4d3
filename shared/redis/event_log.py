"""The event log of a response: the truth that every stream is made from. Published batches are only its fast copy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from shared.redis import conversations, keys, scripts
from shared.schema.items import Item, text_bytes
from shared.schema.response import CONTINUABLE, Response
from shared.turns import approved_calls

READ_COUNT = 512  # events of one read


class Progress(Struct, array_like=True):
    """How far a generation was when it made an event: another worker goes on from there."""

    tokens: list[int]  # generated since the progress before
    cached: int  # prompt tokens that the first worker found in its KV cache
    counts: list[int] = []  # where tokens were spent that no log tells of: all so far, as `workers.counts` counts them


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Progress).decode


class Entry(NamedTuple):
    """One event of the log."""

    event: bytes
    progress: Progress | None = None


class Batch(NamedTuple):
    """Events that follow each other without a gap, encoded as they appear on the wire."""

    first: int  # sequence_number of the first one
    events: list[bytes]


class LogCut(Exception):
    """The log is shorter than what Redis had acknowledged: it came back without its last writes."""

    def __init__(self, length: int) -> None:
        super().__init__(f"the log holds {length} events, fewer than it did")
        self.length = length


def cut(reply: int) -> int | None:
    """The length of a log that is shorter than an append supposed; None for every other reply."""
    return -1 - reply if reply < 0 else None


def decode_batch(published: bytes) -> Batch:
    """A published message: the first sequence number and the events, a line each (JSON holds no line break)."""
    first, *events = published.split(b"\n")
    return Batch(int(first), events)


def queue_append(pipeline: Pipeline, response_id: str, token: str, first: int, entries: Sequence[Entry]) -> None:
    """Adds an append to a pipeline; its reply is one of queue.LOST, queue.HELD, queue.CANCEL, or what `cut` reads."""
    scripts.APPEND.queue(
        pipeline,
        [keys.lease(response_id), keys.events(response_id), keys.response(response_id), keys.job(response_id)],
        [
            token,
            keys.events_channel(response_id),
            first,
            *(part for event, progress in entries for part in (event, _encode(progress) if progress else b"")),
        ],
    )


async def finish(
    redis: Redis,
    response: Response,
    model: str,
    token: str,
    first: int,
    events: Sequence[bytes],
    *,
    record_ttl_seconds: int,
    log_ttl_seconds: int,
    turn: Sequence[Item] = (),
    begun: Collection[str] = (),
    conversation_ttl_seconds: int | None = None,
    torn: bool = False,
    alone: bool = False,
) -> bool:
    """Appends the last events, of which the last one is terminal, and ends the job; False when the lease was lost.

    A response of a conversation gives up its hold of it, and adds `turn` to it if it ended well; else those calls alone
    that were approved and made, of those in `begun` also if nothing is known of their ends. With `alone` its
    conversation is not looked at: the hold is void without the job.
    Raises LogCut where the log ends before `first`; nothing was done then. With `torn` the end follows the hole.
    """
    response_id, conversation = response.id, None if alone else response.conversation
    joining: Sequence[Item] = []
    if conversation:
        joining = turn if response.status in CONTINUABLE else approved_calls(turn, begun)
    done: int = await scripts.FINISH.call(
        redis,
        [
            keys.lease(response_id),
            keys.events(response_id),
            keys.response(response_id),
            keys.queue(model),
            keys.job(response_id),
            keys.retry(response_id),
            *(conversations.names(conversation.id) if conversation else ("", "", "")),
            keys.claimed(model),
            keys.DEADLINES,
        ],
        [
            token,
            keys.events_channel(response_id),
            keys.end_channel(response_id),
            response_id,
            response.status,
            msgspec.json.encode(response),
            record_ttl_seconds,
            log_ttl_seconds,
            text_bytes(response.output),
            int(response.store),
            conversation_ttl_seconds or record_ttl_seconds,
            text_bytes(joining),
            conversations.calls(joining),
            len(joining),
            *conversations.pairs(joining),
            f"!{first}" if torn else first,
            *events,
        ],
    )
    if (length := cut(done)) is not None:
        raise LogCut(length)
    return done == 1


async def read(redis: Redis, response_id: str, first: int) -> list[bytes]:
    """Up to READ_COUNT events from sequence number `first` on; empty when there are none yet, or none any more."""
    entries = await redis.xrange(keys.events(response_id), f"{first}-0", "+", count=READ_COUNT)
    return [fields[b"e"] for _, fields in entries]


async def read_all(redis: Redis, response_id: str) -> list[Entry]:
    """The whole log from event 0, with the progress of the generation."""
    log: list[Entry] = []
    while True:
        found = await redis.xrange(keys.events(response_id), f"{len(log)}-0", "+", count=READ_COUNT)
        log += [Entry(fields[b"e"], _progress(fields.get(b"p"))) for _, fields in found]
        if len(found) < READ_COUNT:
            return log


async def length(redis: Redis, response_id: str) -> int:
    """How many events the log holds, which is the next sequence number."""
    count: int = await redis.xlen(keys.events(response_id))
    return count


def _progress(encoded: bytes | None) -> Progress | None:
    return _decode(encoded) if encoded else None
