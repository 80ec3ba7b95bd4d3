"""Which models the live workers serve, as this front end last heard; names are resolved here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.errors import ApiError, shown, unavailable, without_redis
from shared.enduring import enduring
from shared.redis import registry
from shared.redis.registry import WorkerCard
from shared.schema.models import Model, ModelCard
from shared.similar import closest

log = structlog.get_logger()

REFRESH_SECONDS = 1.0
LISTED_IN_ERRORS = 10  # names


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the workers of one model can do, together."""

    slots: int = 0  # jobs at once
    seconds: float = 0.0  # that a job takes; 0: unknown

    @property
    def interval(self) -> float:
        """Seconds from the end of one job to the end of the next while all slots are taken; 0: unknown."""
        return self.seconds / self.slots if self.slots else 0.0


class Fleet:
    """A picture of the live workers, refreshed every second and whenever a name is not found in it."""

    def __init__(self, redis: Redis, default_model: str, *, queue_without_worker: bool = False) -> None:
        """`queue_without_worker`: names of models that workers have served of late mean them still."""
        self._redis = redis
        self._default = default_model
        self._queue = queue_without_worker
        self._capacity: dict[str, Capacity] = {}
        self._cards: list[ModelCard] = []
        self._workers = 0
        self._away: RedisError | None = None  # why the last look failed
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._try_to_refresh()
        self._task = asyncio.create_task(enduring(self._keep, "fleet"))

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def refresh(self) -> None:
        workers = await registry.live_workers(self._redis)
        self._away = None
        cards: dict[str, ModelCard] = {}
        for card in (card for worker in workers for card in worker.models):
            known = cards.get(card.id)
            if known is None or _rank(card) > _rank(known):
                cards[card.id] = card
        self._cards = _sorted(cards.values())
        self._workers = len(workers)
        self._capacity = {model: _capacity(model, workers) for model in cards}

    @property
    def workers(self) -> int:
        return self._workers

    def capacity(self, model: str) -> Capacity:
        """What the workers of a variant can do; no slots where there is none."""
        return self._capacity.get(model, Capacity())

    async def resolve(self, name: str | None) -> ModelCard:
        """The variant a request's `model` means: a key (then its default), a variant, or either without the publisher
        if only one model is called so. Raises ApiError: 404 naming what there is, 503 without workers or Redis."""
        if self._away:  # known already: nobody has to wait for another time-out
            raise without_redis(self._away)
        name = name or self._default
        card = self._find(name)
        if card is None:
            await self.refresh()
            card = self._find(name) or await self._remembered(name)
        if card is None and not self._workers:
            raise unavailable("No worker is running. Start one with `llamarelay worker`.", code="no_worker")
        if card is None:
            raise self.not_found(name)
        if card.state == "unavailable":
            raise unavailable(f"The model '{card.id}' cannot be loaded: {card.reason}", code="model_unavailable")
        return card

    def models(self) -> list[Model]:
        """Each model with its variants, as `GET /v1/models` lists them."""
        models: dict[str, Model] = {}
        for card in self._cards:
            model = models.setdefault(card.key, _model(card, card.key))
            model.variants.append(card.id)
        return list(models.values())

    def not_found(self, name: str) -> ApiError:
        """The 404 for a name that means no model, or several; it lists close matches first."""
        key, label = _split(name)
        called = self._called(key)
        if len(called) > 1:
            reason, available = f"Several models are called '{shown(name)}'", called
        elif called and label is not None:
            variants = [card.id for card in self._cards if card.key == called[0]]
            reason, available = f"The model '{called[0]}' has no variant '{shown(label)}' here", variants
        else:
            keys = dict.fromkeys(card.key for card in self._cards)
            reason, available = f"The model '{shown(name)}' does not exist here", closest(key, keys)
        listed = ", ".join(available[:LISTED_IN_ERRORS]) or "none"
        if more := len(available[LISTED_IN_ERRORS:]):
            listed += f" and {more} more"
        return ApiError(404, f"{reason}. Available: {listed}.", param="model", code="model_not_found")

    def model(self, name: str) -> Model | None:
        """One model by its key, or one variant by its full name; the publisher may be left out, as in `resolve`."""
        card = self._find(name)
        if card is None:
            return None
        if "@" in name:
            return _model(card, card.id)
        return next(model for model in self.models() if model.id == card.key)

    async def _remembered(self, name: str) -> ModelCard | None:
        """The same of a model that no worker serves any more. Raises ApiError where it is not to be waited for."""
        known = await registry.remembered_models(self._redis)
        card = _find(name, _sorted(known))
        if card is None or card.id in self._capacity:
            return None
        if not self._queue:
            message = f"No worker serves the model '{card.id}' at the moment. Start one with `llamarelay worker`."
            raise unavailable(message, code="no_worker")
        return msgspec.structs.replace(card, state="available", reason=None)

    def _find(self, name: str) -> ModelCard | None:
        return _find(name, self._cards)

    def _called(self, name: str) -> list[str]:
        return _called(name, self._cards)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self._try_to_refresh()

    async def _try_to_refresh(self) -> None:
        try:
            await self.refresh()
        except RedisError as error:
            self._away = error
            log.warning("registry_unreadable", error=str(error))


def _find(name: str, cards: Sequence[ModelCard]) -> ModelCard | None:
    """The variant a name means among `cards`, which are sorted as `_sorted` does."""
    key, label = _split(name)
    called = _called(key, cards)
    if len(called) != 1:
        return None
    variants = (card for card in cards if card.key == called[0])
    return next((card for card in variants if label is None or card.id.casefold().endswith(f"@{label}")), None)


def _called(name: str, cards: Sequence[ModelCard]) -> list[str]:
    """The keys of the models with this name: a key, or what follows the publisher in one."""
    keys = list(dict.fromkeys(card.key for card in cards))
    exact = [key for key in keys if key.casefold() == name]
    return exact or [key for key in keys if key.casefold().rpartition("/")[2] == name]


def _sorted(cards: Iterable[ModelCard]) -> list[ModelCard]:
    """The default variant of each model is its first."""
    return sorted(cards, key=lambda card: (card.key, not card.default, card.id))


def _capacity(model: str, workers: Sequence[WorkerCard]) -> Capacity:
    """Workers that have not run a job of the model yet are taken to be as fast as the others."""
    serving = [worker for worker in workers if any(card.id == model and not card.reason for card in worker.models)]
    at_once = [(worker.slots + worker.aside.get(model, 0), worker.seconds.get(model)) for worker in serving]
    slots = sum(many for many, _ in at_once)
    measured = [(many, seconds) for many, seconds in at_once if seconds]
    rate = sum(many / seconds for many, seconds in measured)  # jobs a second, of the slots of these
    return Capacity(slots, sum(many for many, _ in measured) / rate if rate else 0.0)


def _split(name: str) -> tuple[str, str | None]:
    """The model a name means and the variant, if it names one."""
    key, mark, label = name.casefold().rpartition("@")
    return (key, label) if mark else (label, None)


def _rank(card: ModelCard) -> int:
    return ("unavailable", "available", "loaded").index(card.state)


def _model(card: ModelCard, name: str) -> Model:
    return Model(
        id=name,
        created=card.created,
        owned_by=card.key.split("/")[0],
        context_length=card.context_length,
        architecture=card.architecture,
        parameters=card.parameters,
        quantization=card.quantization,
        vision=card.vision,
    )
