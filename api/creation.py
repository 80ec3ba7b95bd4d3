"""From a valid request to a response in Redis: the model, the parent, the size, the record, the job."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from redis.asyncio import Redis

from api.admission import Admission, overload
from api.apart import apart
from api.approvals import check_approvals
from api.calls import check_calls, open_calls
from api.conversations import check_distinct, read_opening, refusals
from api.errors import ApiError, server_error, unavailable
from api.finishing import to_its_end
from api.fleet import Fleet
from api.items import ItemReader, require_sealer
from api.limits import check_limits, check_nesting
from api.media.reader import MediaReader, check_vision
from api.references import resolve
from api.remote import RemoteServers
from api.tools import Offered, check_tools, read_choice, read_format, read_tools
from api.validation import ENCRYPTED_REASONING, LOGPROBS
from shared.emitter import Emitter
from shared.lanes import looked_into
from shared.mcp_server import Server, seal
from shared.redis import counting, records
from shared.redis.conversations import Opening
from shared.redis.queue import Refused
from shared.redis.records import AncestorGone, Generation, Idempotency, Record, Repeated
from shared.schema.ids import new_id
from shared.schema.items import Item, ItemReference, text_bytes
from shared.schema.models import ModelCard
from shared.schema.request import CreateResponse, PlainFormat, TextFormat
from shared.schema.response import TERMINAL, ConversationRef, ReasoningConfig, Response, TextConfig
from shared.schema.tools import Tool, ToolChoice
from shared.sealing import sealer_of
from shared.settings import Settings
from shared.trials import Trials

TEMPLATE_BYTES = 2048  # what a chat template may add to a prompt, beyond what it adds for each item
ITEM_BYTES = 64
COUNT_SECONDS = 60.0  # how long a worker may take to measure a long prompt
BEGIN_SECONDS = 3.0  # after which a response is created without that, where no worker has begun
UNSTORED_TTL_EXTRA_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Draft:
    """A response that may be created: everything that can be refused has been checked."""

    record: Record
    events: list[bytes]  # the first events of the stream, encoded


@dataclass(frozen=True, slots=True)
class Chain:
    """What a new response continues: a conversation's items, stored responses (oldest first), items of others."""

    ids: list[str]
    bytes: int  # of text in all of it
    waiting: dict[str, str]  # calls in it that wait for their output
    opening: Opening | None = None
    inherited: Sequence[Item] = ()

    @property
    def empty(self) -> bool:
        return not self.ids and not self.inherited and (self.opening is None or self.opening.before == 0)

    @property
    def most_items(self) -> int:
        return 2 * len(self.ids) + (self.opening.before if self.opening else 0)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the model may do besides talking."""

    tools: list[Tool]
    choice: ToolChoice
    format: TextFormat | None
    servers: list[Server]  # those of the `mcp` tools, with their secrets

    @property
    def bound(self) -> int:
        """Tokens that the tools take of the context at most: a template may write them with indentation."""
        return 4 * len(msgspec.json.encode(self.tools)) if self.tools else 0


class Creation:
    """Makes responses out of requests."""

    def __init__(
        self,
        redis: Redis,
        fleet: Fleet,
        settings: Settings,
        front: str,
        share_of: Callable[[str], int] = lambda owner: 0,
    ) -> None:
        """`front`: the id under which this front end tells that it lives. `share_of` says how many responses of an
        owner may run at once; 0: as many as there are slots."""
        self._redis = redis
        self._front = front
        self._admission = Admission(fleet, settings)
        self._share_of = share_of
        self._fleet = fleet
        self._settings = settings
        self._media = MediaReader(settings)
        self._remote = RemoteServers(settings)
        self.sealer = sealer_of(settings.encryption_key)

    async def draft(self, request: CreateResponse, owner: str, chain: Chain | None = None) -> Draft:
        """Reads the input and checks what needs Redis or a worker. Raises ApiError.

        `chain` is what the request continues where the caller knows that already.
        """
        response_id = new_id("resp")
        given = await self._read(request, response_id, owner)
        card = await self._fleet.resolve(request.model)
        items = await self._items(given, owner, card)
        chain = chain or await self._ancestors(request, owner)
        offer = await self._offer(request)
        check_calls(items, chain.waiting)
        most = self._settings.most_calls(request.max_tool_calls)
        await check_approvals(self._redis, items, chain.ids, chain.inherited, chain.opening, offer.tools, most)
        if not items and chain.empty and not (request.prewarm and request.instructions):
            raise ApiError(
                400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
            )
        size = text_bytes(items) + chain.bytes
        items = [*chain.inherited, *items]
        await self._check_size(request, items, chain, card, size, owner, offer)
        response = self._response(request, response_id, card, offer)
        record = Record(
            response=response,
            generation=self._generation(request, card, offer, owner),
            input=items,
            owner=owner,
            ancestors=chain.ids,
            context_bytes=size,
            opening=chain.opening,
            inherited=len(chain.inherited),
            front=None if response.store else self._front,
        )
        if response.conversation:
            check_distinct(items)
        emitter = Emitter(response, 0)
        emitter.created()
        if response.background:
            emitter.queued()
        return Draft(record, emitter.take())

    async def create(self, draft: Draft, idempotency: Idempotency | None = None) -> str | None:
        """Writes the record, enqueues the job and wakes a worker. When the client leaves meanwhile it does so all the
        same, so that the caller has something to cancel.

        Returns the id of the response that the idempotency key stands for already, else None. Raises ApiError when an
        ancestor has just gone, when the key came with another request before, or when too much is waiting.
        """
        settings = self._settings
        ttl = settings.response_ttl_seconds
        if not draft.record.response.store:
            ttl = int(settings.queue_timeout_seconds + settings.job_timeout_seconds) + UNSTORED_TTL_EXTRA_SECONDS
        conversation = draft.record.response.conversation
        model, owner = draft.record.generation.model, draft.record.owner
        terms = self._admission.terms(
            model, owner, share=self._share_of(owner), background=bool(draft.record.response.background)
        )
        with refusals(conversation.id if conversation else "", param="conversation"), overload(model):
            outcome = await to_its_end(
                records.create(
                    self._redis, draft.record, draft.events, ttl, idempotency, settings.conversation_ttl_seconds, terms
                )
            )
        match outcome:
            case AncestorGone(response_id=gone):
                raise _parent_not_found(gone)
            case Repeated(response_id=earlier, same_request=True):
                return earlier
            case Repeated():
                message = "This Idempotency-Key was used with another request before."
                raise ApiError(409, message, type="idempotency_error", code="idempotency_key_reused")
        return None

    async def _ancestors(self, request: CreateResponse, owner: str) -> Chain:
        opening = await read_opening(self._redis, request, owner)
        parent_id = request.previous_response_id
        if parent_id is None:
            return Chain([], opening.bytes, opening.waiting, opening) if opening else Chain([], 0, {})
        parent = await records.read_parent(self._redis, parent_id)
        if parent is None or parent.owner != owner:
            raise _parent_not_found(parent_id)
        if parent.status not in TERMINAL:
            message = f"The response '{parent_id}' is still {parent.status}. Wait for its end before you continue it."
            raise ApiError(400, message, param="previous_response_id", code="previous_response_not_ready")
        if not parent.continuable:
            message = f"The response '{parent_id}' is {parent.status}: only a completed or incomplete one can go on."
            raise ApiError(400, message, param="previous_response_id", code="previous_response_not_usable")
        waiting = open_calls(parent.output)
        return Chain([*parent.ancestors, parent_id], parent.context_bytes, waiting, parent.opening)

    async def _offer(self, request: CreateResponse) -> Offer:
        tools, servers, choice, form = await self._checked(request)
        if servers:
            await self._remote.check(servers)
        return Offer(tools, choice, form, list(servers.values()))

    async def _checked(
        self, request: CreateResponse
    ) -> tuple[list[Tool], dict[str, Server], ToolChoice, TextFormat | None]:
        """Schemas and grammars are checked in threads: some take long enough to be felt by other requests."""
        offered: Offered | None = None  # read once

        def checked(trials: Trials) -> tuple[list[Tool], dict[str, Server], ToolChoice, TextFormat | None]:
            nonlocal offered
            refuse_hosted = self._settings.hosted_tools == "refuse"
            offered = offered or read_tools(request, self._remote, refuse_hosted=refuse_hosted)
            check_tools(offered.tools, trials)
            return *offered, read_choice(request, offered.tools), read_format(request, trials)

        return await looked_into(checked) if request.tools or request.text else checked(Trials())

    async def _read(self, request: CreateResponse, response_id: str, owner: str) -> list[Item | ItemReference]:
        def read() -> list[Item | ItemReference]:
            check_limits(request, self._settings)
            return ItemReader(response_id, owner, self.sealer, self._settings.max_input_items).read(request)

        given = request.input if isinstance(request.input, list) else ()
        return await apart(sum(map(len, given)) + sum(map(len, request.tools or ())), read)

    async def _items(self, given: list[Item | ItemReference], owner: str, card: ModelCard) -> list[Item]:
        """The input as the model can be given it: images and files looked into, references resolved."""
        check_vision(given, card)
        await self._media.read(given)
        items = await resolve(self._redis, given, owner)
        check_vision(items, card)
        return items

    async def read_items(self, raw: Sequence[msgspec.Raw], where: str, most: int, owner: str) -> list[Item]:
        """Items that come at `where` of another body than a request's, `most` of them. Raises ApiError."""

        def read() -> list[Item | ItemReference]:
            check_nesting(raw[:most], where, self._settings)
            return ItemReader(new_id("resp"), owner, self.sealer, most).read_list(raw, where)

        given = await apart(sum(map(len, raw)), read)
        await self._media.read(given, where)
        return await resolve(self._redis, given, owner, where)

    async def count(self, request: CreateResponse, owner: str) -> int:
        """How many tokens the input of a request has, as the model would read it. Raises ApiError."""
        given = await self._read(request, new_id("resp"), owner)
        card = await self._fleet.resolve(request.model)
        items = await self._items(given, owner, card)
        ancestors = await self._ancestors(request, owner)
        offer = await self._offer(request)
        try:
            with overload(card.id):
                return (await self._measure(request, items, ancestors, card, owner, offer)).tokens
        except counting.NotMeasured:
            raise _not_measured() from None

    async def _check_size(
        self,
        request: CreateResponse,
        items: list[Item],
        chain: Chain,
        card: ModelCard,
        size: int,
        owner: str,
        offer: Offer,
    ) -> None:
        """A token is at least a byte, so what is short in bytes fits; what is long is measured by a worker. Where none
        has time for that the response waits as every other one, and its stream then says what does not fit."""
        bound = size + len((request.instructions or "").encode()) + TEMPLATE_BYTES
        bound += ITEM_BYTES * (len(items) + chain.most_items) + offer.bound
        if bound < card.context_length:
            return
        if not self._fleet.capacity(card.id).slots:
            return  # it is to wait for a worker, which then says in its stream what does not fit
        try:
            answer = await self._measure(request, items, chain, card, owner, offer, begin=BEGIN_SECONDS)
        except Refused:
            return
        except counting.NotMeasured as unmeasured:
            if unmeasured.lost:  # the input may be what ended them
                raise _not_measured() from None
            return
        if answer.tokens >= answer.context_length:
            message = (
                f"This model's context holds {answer.context_length} tokens, but the input has {answer.tokens}. "
                "Shorten the input."
            )
            raise ApiError(400, message, param="input", code="context_length_exceeded")

    async def _measure(
        self,
        request: CreateResponse,
        items: list[Item],
        chain: Chain,
        card: ModelCard,
        owner: str,
        offer: Offer,
        begin: float | None = None,
    ) -> counting.Answer:
        """Raises ApiError; Refused and NotMeasured where no worker had time for it."""
        question = counting.Question(
            opening=chain.opening,
            ancestors=chain.ids,
            owner=owner,
            input=items,
            instructions=request.instructions,
            effort=request.reasoning.effort if request.reasoning else None,
            tools=offer.tools,
            tool_choice=offer.choice,
            truncate=request.truncation == "auto",
            max_output_tokens=request.max_output_tokens,
        )
        terms = self._admission.count_terms(owner, COUNT_SECONDS)
        answer = await counting.ask(self._redis, card.id, question, terms, COUNT_SECONDS, begin)
        if answer.lost:
            raise server_error(f"{answer.lost} workers were lost while they measured this input.")
        if answer.error:
            raise ApiError(400, f"The model refuses this input: {answer.error}", param="input", code="invalid_prompt")
        return answer

    def _generation(self, request: CreateResponse, card: ModelCard, offer: Offer, owner: str) -> Generation:
        include = request.include or []
        if ENCRYPTED_REASONING in include:
            require_sealer(self.sealer, f"include[{include.index(ENCRYPTED_REASONING)}]")
        logprobs = LOGPROBS in include or bool(request.top_logprobs)
        return Generation(
            model=card.id,
            effort=request.reasoning.effort if request.reasoning else None,
            obfuscate=_obfuscate(request),
            logprobs=(request.top_logprobs or 0) if logprobs else None,
            encrypt_reasoning=ENCRYPTED_REASONING in include,
            truncate=request.truncation == "auto",
            summary=_summary(request),
            compact_threshold=self._compact_threshold(request),
            prewarm=request.prewarm,
            mcp_servers=seal(offer.servers, self.sealer, owner) if offer.servers and self.sealer else None,
        )

    def _compact_threshold(self, request: CreateResponse) -> int | None:
        if not request.context_management:
            return None
        require_sealer(self.sealer, "context_management")
        return request.context_management[0].compact_threshold

    def _response(self, request: CreateResponse, response_id: str, card: ModelCard, offer: Offer) -> Response:
        settings, reasoning = self._settings, request.reasoning
        return Response(
            id=response_id,
            created_at=int(time.time()),
            status="queued" if request.background else "in_progress",
            background=bool(request.background),
            conversation=ConversationRef(id=request.conversation_id) if request.conversation_id else None,
            instructions=request.instructions,
            max_output_tokens=request.max_output_tokens,
            max_tool_calls=request.max_tool_calls,
            model=card.id if "@" in (request.model or "") else card.key,
            parallel_tool_calls=request.parallel_tool_calls is not False,
            previous_response_id=request.previous_response_id,
            prompt_cache_key=request.prompt_cache_key,
            reasoning=ReasoningConfig(effort=reasoning.effort if reasoning else None, summary=_summary(request)),
            safety_identifier=request.safety_identifier,
            store=request.store is not False,
            temperature=settings.temperature if request.temperature is None else request.temperature,
            top_p=settings.top_p if request.top_p is None else request.top_p,
            text=TextConfig(format=offer.format or PlainFormat(), verbosity=_verbosity(request)),
            tools=offer.tools,
            tool_choice=offer.choice,
            top_logprobs=request.top_logprobs or 0,
            truncation=request.truncation or "disabled",
            user=request.user,
            metadata=request.metadata or {},
        )


def _obfuscate(request: CreateResponse) -> bool:
    return bool(request.stream_options and request.stream_options.include_obfuscation)


def _verbosity(request: CreateResponse) -> Literal["low", "medium", "high"] | UnsetType:
    return (request.text.verbosity if request.text else None) or UNSET


def _summary(request: CreateResponse) -> Literal["auto", "concise", "detailed"] | None:
    return (request.reasoning.summary or request.reasoning.generate_summary) if request.reasoning else None


def _not_measured() -> ApiError:
    return unavailable("No worker measured the input in time.")


def _parent_not_found(response_id: str) -> ApiError:
    message = f"Previous response with id '{response_id}' not found."
    return ApiError(400, message, param="previous_response_id", code="previous_response_not_found")
