"""Response records: what is stored of a response, from its creation until it expires or is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct, field
from redis.asyncio import Redis

from shared.redis import conversations, keys, queue, scripts
from shared.redis.conversations import RETRIED_SECONDS, Opening
from shared.schema import files
from shared.schema.items import Item, OutputItem
from shared.schema.response import CONTINUABLE, TERMINAL, Response


class Generation(Struct, kw_only=True):
    """What a worker needs beyond the Response object: the parameters that object does not carry."""

    model: str  # the variant that was chosen
    effort: str | None = None
    seed: int | None = None
    obfuscate: bool = False
    logprobs: int | None = None  # how many alternatives of each token; None: no logprobs
    encrypt_reasoning: bool = False
    truncate: bool = False  # drop the oldest items where the context is too small
    summary: Literal["auto", "concise", "detailed"] | None = None  # of the reasoning
    compact_threshold: int | None = None  # tokens of prompt beyond which the conversation is summarised first
    prewarm: bool = False  # compute the prompt, generate nothing
    mcp_servers: str | None = None  # remote servers with their secrets, sealed; see `shared.mcp_server`


class Record(Struct, kw_only=True):
    """A new response as the front end writes it."""

    response: Response
    generation: Generation
    input: list[Item]
    owner: str
    ancestors: list[str]  # ids, oldest first; the last one is the parent
    context_bytes: int  # bytes of text in the whole chain, this response's input included
    opening: Opening | None = None  # what the chain begins with, where it or an ancestor belongs to a conversation
    inherited: int = 0  # how many items of `input` come from ancestors that were not stored
    front: str | None = None  # the front end whose client alone can read it: without it nobody waits for the end


class Parent(Struct, kw_only=True):
    """What the front end reads of a parent before it chains a response to it."""

    status: str
    owner: str
    ancestors: list[str]
    context_bytes: int
    output: list[OutputItem]
    opening: Opening | None

    @property
    def continuable(self) -> bool:
        return self.status in CONTINUABLE


class Turn(Struct, kw_only=True):
    """The items one response of a chain took in and put out."""

    input: list[Item]
    output: list[OutputItem]


class Checkpoint(Struct, kw_only=True):
    """Where a response stood when a generation had ended and remote tools were about to be called."""

    events: int  # of the log, at this point; what follows belongs to the next generation
    items: int  # of the output, which the next generation reads
    tokens: list[int]  # of all generations so far, as `workers.counts` counts them
    started: list[str]  # ids of the calls
    sent: list[str] | None = None  # those of them that were sent; None of an older worker: nobody knows

    @property
    def perhaps_made(self) -> frozenset[str]:
        """The calls that their server may have seen."""
        return frozenset(self.started if self.sent is None else self.sent)


class Context(Struct, kw_only=True):
    """Everything a worker needs to run a response."""

    response: Response
    generation: Generation
    owner: str
    input: list[Item]
    ancestors: list[Turn]  # oldest first; before them a turn with the conversation's items
    cancelled: bool
    conversation_gone: bool  # the conversation it begins with was deleted
    front: str | None = None  # the front end whose client alone can read it
    checkpoint: Checkpoint | None = None  # the last one of a worker that was lost


class _Output(Struct):
    output: list[OutputItem] = field(default_factory=list)


_encode = msgspec.json.Encoder().encode
_item = msgspec.json.Decoder(Item)
_items = msgspec.json.Decoder(list[Item])
_contents = msgspec.json.Decoder(list[files.Content])
_output = msgspec.json.Decoder(_Output)
_response = msgspec.json.Decoder(Response)
_generation = msgspec.json.Decoder(Generation)
_checkpoint = msgspec.json.Decoder(Checkpoint)


class Idempotency(Struct, kw_only=True):
    """A client's idempotency key, and a digest of the request that came with it."""

    key: str
    digest: str
    ttl_seconds: int


class Created(Struct, tag=True):
    """The response was written and its job enqueued."""


class AncestorGone(Struct, tag=True):
    """Nothing was written: this response of the chain is not there any more."""

    response_id: str


class Repeated(Struct, tag=True):
    """Nothing was written: the idempotency key stands for this response already."""

    response_id: str
    same_request: bool


async def create(
    redis: Redis,
    record: Record,
    events: Sequence[bytes],
    ttl_seconds: int,
    idempotency: Idempotency | None = None,
    conversation_ttl_seconds: int | None = None,
    terms: queue.Terms | None = None,
) -> Created | AncestorGone | Repeated:
    """Writes a record and its first events, enqueues the job and wakes a worker, in one round trip.

    A response that belongs to a conversation, which has to be as its `opening` says, holds it from now on.
    Raises ConversationGone, ConversationHeld, ConversationChanged, ItemRepeated, queue.Refused.
    """
    response, model = record.response, record.generation.model
    opening, joins = record.opening, response.conversation is not None
    names = [
        *queue.names(model, response.id, record.owner),
        keys.response(response.id),
        keys.events(response.id),
        keys.idempotency(record.owner, idempotency.key) if idempotency else "",
        *(conversations.names(opening.conversation) if opening else ("", "", "")),
        *map(keys.response, record.ancestors),
    ]
    taken, contents = files.take_out(record.input)
    fields: dict[str, str | bytes | int] = {
        "status": response.status,
        "owner": record.owner,
        "ancestors": _encode(record.ancestors),
        "context_bytes": record.context_bytes,
        "input": _encode(taken),
        "inherited": record.inherited,
        "response": _encode(response),
        "request": _encode(record.generation),
        "lane": keys.lane(model, record.owner),
    }
    if contents:
        fields["files"] = _encode(contents)
    if record.front:
        fields["front"] = record.front
    if opening:
        fields |= {"conversation": opening.conversation, "before": opening.before}
    outcome = await scripts.CREATE.call(
        redis,
        names,
        [
            response.id,
            queue.definition(queue.GENERATE, response.id),
            queue.encode_terms(terms or queue.Terms(owner=record.owner)),
            ttl_seconds,
            idempotency.ttl_seconds if idempotency else 0,
            idempotency.digest if idempotency else "",
            conversation_ttl_seconds or ttl_seconds,
            keys.RESPONSE_PREFIX,
            keys.JOB_PREFIX,
            *((opening.version, _encode([item.id for item in record.input])) if opening and joins else ("", "")),
            len(events),
            *events,
            *(part for pair in fields.items() for part in pair),
        ],
    )
    match outcome:
        case [1, position]:
            return AncestorGone(record.ancestors[position - 1])
        case [2, response_id, digest]:
            return Repeated(response_id.decode(), bool(idempotency and digest == idempotency.digest.encode()))
        case [7, *refusal]:
            raise queue.Refused.of(refusal)
        case [3] if not joins:
            return AncestorGone(response.previous_response_id or "")
        case [(3 | 4 | 5 | 6) as refusal, *about]:
            conversations.refuse([refusal - 2, *about])
    return Created()


async def read_parent(redis: Redis, response_id: str) -> Parent | None:
    """What chaining needs to know of a response; None when there is no such record."""
    fields = ("status", "owner", "ancestors", "context_bytes", "response", "conversation", "before")
    status, owner, ancestors, size, response, conversation, before = await _hmget(redis, response_id, *fields)
    if status is None or owner is None:
        return None
    return Parent(
        status=status.decode(),
        owner=owner.decode(),
        ancestors=msgspec.json.decode(ancestors or b"[]", type=list[str]),
        context_bytes=int(size or 0),
        output=_output.decode(response or b"{}").output,
        opening=Opening(conversation=conversation.decode(), before=int(before or 0)) if conversation else None,
    )


async def read_response(redis: Redis, response_id: str, owner: str) -> bytes | None:
    """The Response object as it stands, encoded; None when there is none or it is somebody else's."""
    found, encoded = await _hmget(redis, response_id, "owner", "response")
    return encoded if found == owner.encode() else None


async def read_end(redis: Redis, response_id: str) -> tuple[bool, bytes | None]:
    """Whether a response has ended, and the object as it stands; (False, None) when there is no such record."""
    status, encoded = await _hmget(redis, response_id, "status", "response")
    return bool(status and status.decode() in TERMINAL), encoded


async def read_status(redis: Redis, response_id: str) -> str | None:
    """A response's status; None when there is no such record."""
    [status] = await _hmget(redis, response_id, "status")
    return status.decode() if status else None


async def read_context(redis: Redis, response_id: str) -> Context | None:
    """A response with the items of all its ancestors, in one round trip; None when it was deleted or has ended."""
    prefixes = [keys.RESPONSE_PREFIX, keys.CONVERSATION_PREFIX, keys.ORDER_PREFIX, keys.ITEMS_PREFIX]
    found = await scripts.CONTEXT.call(redis, [keys.response(response_id)], prefixes)
    if not found:
        return None
    response, generation, owner, taken, contents, cancel, front, checkpoint = found[0]
    pairs: Sequence[bytes | None] = found[1]
    opening = Turn(input=[_item.decode(encoded) for encoded in found[2] or ()], output=[])
    return Context(
        response=_response.decode(response),
        generation=_generation.decode(generation),
        owner=owner.decode(),
        input=_input(taken, contents),
        ancestors=[opening, *(_turn(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True))],
        cancelled=cancel is not None,
        conversation_gone=found[2] is None,
        front=front.decode() if front is not None else None,
        checkpoint=_checkpoint.decode(checkpoint) if checkpoint is not None else None,
    )


async def read_turns(
    redis: Redis, response_ids: Sequence[str], owner: str | None = None, *, whole: bool = False
) -> list[Turn]:
    """The items of some responses, in one round trip; what is gone, or not `owner`'s if one is given, is empty.

    Files have the text that was read in them, and only with `whole` what they came as."""
    async with redis.pipeline(transaction=False) as pipeline:
        for response_id in response_ids:
            pipeline.hmget(keys.response(response_id), ["owner", "input", "response", *(["files"] if whole else [])])
        found = await pipeline.execute()
    return [
        _turn(*about) if owner is None or whose == owner.encode() else Turn(input=[], output=[])
        for whose, *about in found
    ]


async def read_earlier(
    redis: Redis,
    ancestors: Sequence[str],
    opening: Opening | None,
    owner: str | None = None,
    *,
    whole: bool = False,
) -> list[Item]:
    """Every item that a response continues: of the conversation at its beginning, then what each ancestor took in and
    put out; `owner` and `whole` are those of `read_turns`."""
    items = await conversations.read_items(redis, opening) if opening else []
    for turn in await read_turns(redis, ancestors, owner, whole=whole):
        items += [*turn.input, *turn.output]
    return items


class Deletion(NamedTuple):
    leased: bool  # it has not ended and nobody runs it: the caller holds the lease now and has to end it


async def delete(redis: Redis, response_id: str, owner: str, token: str, lease_ms: int) -> Deletion | None:
    """Deletes a response; one that still runs is cancelled by that. None when there is none of this owner."""
    names = [keys.response(response_id), keys.events(response_id), keys.lease(response_id), keys.deleted(response_id)]
    deleted: int = await scripts.DELETE.call(redis, names, [owner, token, lease_ms, RETRIED_SECONDS])
    return Deletion(deleted == 2) if deleted else None


async def forget(redis: Redis, response_id: str) -> None:
    """Removes what is left of an unstored response after its end."""
    await redis.delete(keys.response(response_id), keys.events(response_id))


async def discard(redis: Redis, response_id: str, token: str) -> bool:
    """Removes a running response that cannot be read or ended; False when the lease is lost."""
    names = [keys.lease(response_id), keys.response(response_id), keys.events(response_id)]
    discarded: int = await scripts.DISCARD.call(redis, names, [token])
    return discarded == 1


async def start(redis: Redis, response: Response, token: str) -> None:
    """Tells polling clients that a queued response runs now."""
    await scripts.START.call(redis, [keys.lease(response.id), keys.response(response.id)], [token, _encode(response)])


async def check_in(redis: Redis, response_id: str, token: str, checkpoint: Checkpoint) -> bool:
    """Notes how far a response is; False when the lease was lost."""
    names = [keys.lease(response_id), keys.response(response_id), keys.job(response_id)]
    noted: int = await scripts.CHECKPOINT.call(redis, names, [token, _encode(checkpoint)])
    return noted == 1


class Cancellation(NamedTuple):
    status: str  # when the wish came
    leased: bool  # nobody runs it: the caller holds the lease now and has to end it


async def cancel(redis: Redis, response_id: str, owner: str, token: str, lease_ms: int) -> Cancellation | None:
    """Asks the worker to end a response; None when this owner has no such response."""
    names = [keys.response(response_id), keys.lease(response_id)]
    found = await scripts.CANCEL.call(redis, names, [owner, token, lease_ms])
    return Cancellation(found[0].decode(), found[1] == 1) if found else None


async def read_input(redis: Redis, response_id: str, owner: str) -> list[Item] | None:
    """A response's own input items, not those of its ancestors; None when this owner has no such response."""
    fields = ("owner", "input", "files", "inherited")
    found, encoded, contents, inherited = await _hmget(redis, response_id, *fields)
    return _input(encoded, contents)[int(inherited or 0) :] if found == owner.encode() else None


async def _hmget(redis: Redis, response_id: str, *fields: str) -> list[bytes | None]:
    values: list[bytes | None] = await redis.hmget(keys.response(response_id), list(fields))  # type: ignore[misc]
    return values


def _turn(taken: bytes | None, given: bytes | None, contents: bytes | None = None) -> Turn:
    return Turn(input=_input(taken, contents), output=_output.decode(given or b"{}").output)


def _input(encoded: bytes | None, contents: bytes | None) -> list[Item]:
    """Items with what their files came as, where `contents` is there."""
    items = _items.decode(encoded or b"[]")
    if contents:
        files.put_back(items, _contents.decode(contents))
    return items
