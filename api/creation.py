"""From a valid request to a response in Redis: the model, the parent, the size, the record, the job."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
from redis.asyncio import Redis

from api.errors import ApiError, unavailable
from api.fleet import Fleet
from shared.redis import counting, records
from shared.redis.records import Generation, Parent, Record
from shared.schema.events import Created
from shared.schema.ids import new_id
from shared.schema.items import Item, text_bytes
from shared.schema.models import ModelCard
from shared.schema.request import CreateResponse
from shared.schema.response import TERMINAL, ReasoningConfig, Response
from shared.settings import Settings

TEMPLATE_BYTES = 2048  # what a chat template may add to a prompt, beyond what it adds for each item
ITEM_BYTES = 64
COUNT_SECONDS = 60.0  # how long a worker may take to measure a long prompt
UNSTORED_TTL_EXTRA_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Draft:
    """A response that may be created: everything that can be refused has been checked."""

    record: Record
    created: bytes  # the event `response.created`, encoded


class Creation:
    """Makes responses out of requests."""

    def __init__(self, redis: Redis, fleet: Fleet, settings: Settings) -> None:
        self._redis = redis
        self._fleet = fleet
        self._settings = settings

    async def draft(self, request: CreateResponse, items: list[Item], owner: str) -> Draft:
        """Checks what needs Redis or a worker. Raises ApiError."""
        card = await self._fleet.resolve(request.model)
        parent = await self._parent(request.previous_response_id, owner)
        ancestors = [*parent.ancestors, request.previous_response_id] if parent and request.previous_response_id else []
        if not items and not ancestors:
            raise ApiError(
                400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
            )
        size = text_bytes(items) + (parent.context_bytes if parent else 0)
        await self._check_size(request, items, ancestors, card, size)
        response = self._response(request, request.model or self._settings.default_model)
        record = Record(
            response=response,
            generation=Generation(model=card.id, effort=response.reasoning.effort),
            input=items,
            owner=owner,
            ancestors=ancestors,
            context_bytes=size,
        )
        return Draft(record, msgspec.json.encode(Created(sequence_number=0, response=response)))

    async def create(self, draft: Draft) -> None:
        """Writes the record, enqueues the job and wakes a worker. Raises ApiError when an ancestor has just gone."""
        settings = self._settings
        ttl = settings.response_ttl_seconds
        if not draft.record.response.store:
            ttl = int(settings.queue_timeout_seconds + settings.job_timeout_seconds) + UNSTORED_TTL_EXTRA_SECONDS
        missing = await records.create(self._redis, draft.record, draft.created, ttl)
        if missing:
            raise _parent_not_found(missing)

    async def _parent(self, parent_id: str | None, owner: str) -> Parent | None:
        if parent_id is None:
            return None
        parent = await records.read_parent(self._redis, parent_id)
        if parent is None or parent.owner != owner:
            raise _parent_not_found(parent_id)
        if parent.status not in TERMINAL:
            message = f"The response '{parent_id}' is still {parent.status}. Wait for its end before you continue it."
            raise ApiError(400, message, param="previous_response_id", code="previous_response_not_ready")
        if parent.status not in ("completed", "incomplete"):
            message = f"The response '{parent_id}' is {parent.status}: only a completed or incomplete one can go on."
            raise ApiError(400, message, param="previous_response_id", code="previous_response_not_usable")
        return parent

    async def _check_size(
        self, request: CreateResponse, items: list[Item], ancestors: list[str], card: ModelCard, size: int
    ) -> None:
        """A token is at least a byte, so what is short in bytes fits; what is long is measured by a worker."""
        bound = size + len((request.instructions or "").encode()) + TEMPLATE_BYTES
        bound += ITEM_BYTES * (len(items) + 2 * len(ancestors))
        if bound < card.context_length:
            return
        question = counting.Question(
            ancestors=ancestors,
            input=items,
            instructions=request.instructions,
            effort=request.reasoning.effort if request.reasoning else None,
        )
        answer = await counting.ask(self._redis, card.id, question, COUNT_SECONDS)
        if answer is None:
            raise unavailable("No worker measured the input in time.")
        if answer.error:
            raise ApiError(400, f"The model refuses this input: {answer.error}", param="input", code="invalid_prompt")
        if answer.tokens >= answer.context_length:
            message = (
                f"This model's context holds {answer.context_length} tokens, but the input has {answer.tokens}. "
                "Shorten the input."
            )
            raise ApiError(400, message, param="input", code="context_length_exceeded")

    def _response(self, request: CreateResponse, model: str) -> Response:
        settings, reasoning = self._settings, request.reasoning
        return Response(
            id=new_id("resp"),
            created_at=int(time.time()),
            status="in_progress",
            instructions=request.instructions,
            max_output_tokens=request.max_output_tokens,
            max_tool_calls=request.max_tool_calls,
            model=model,
            parallel_tool_calls=request.parallel_tool_calls is not False,
            previous_response_id=request.previous_response_id,
            prompt_cache_key=request.prompt_cache_key,
            reasoning=ReasoningConfig(effort=reasoning.effort if reasoning else None),
            safety_identifier=request.safety_identifier,
            store=request.store is not False,
            temperature=settings.temperature if request.temperature is None else request.temperature,
            top_p=settings.top_p if request.top_p is None else request.top_p,
            text=_text(request),
            user=request.user,
            metadata=request.metadata or {},
        )


def _text(request: CreateResponse) -> dict[str, object]:
    text: dict[str, object] = {"format": {"type": "text"}}
    if request.text and request.text.verbosity:
        text["verbosity"] = request.text.verbosity
    return text


def _parent_not_found(response_id: str) -> ApiError:
    message = f"Previous response with id '{response_id}' not found."
    return ApiError(400, message, param="previous_response_id", code="previous_response_not_found")
