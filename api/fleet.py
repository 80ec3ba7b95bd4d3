"""Which models the live workers serve, as this front end last heard; names are resolved here."""

from __future__ import annotations

import asyncio

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.errors import ApiError, shown, unavailable, without_redis
from shared.redis import registry
from shared.schema.models import Model, ModelCard
from shared.similar import closest

log = structlog.get_logger()

REFRESH_SECONDS = 1.0
LISTED_IN_ERRORS = 10  # names


class Fleet:
    """A picture of the live workers, refreshed every second and whenever a name is not found in it."""

    def __init__(self, redis: Redis, default_model: str) -> None:
        self._redis = redis
        self._default = default_model
        self._cards: list[ModelCard] = []
        self._workers = 0
        self._away: RedisError | None = None  # why the last look failed
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._try_to_refresh()
        self._task = asyncio.create_task(self._keep())

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
        self._cards = sorted(cards.values(), key=lambda card: (card.key, not card.default, card.id))
        self._workers = len(workers)

    @property
    def workers(self) -> int:
        return self._workers

    async def resolve(self, name: str | None) -> ModelCard:
        """The variant a request's `model` means: a key (then its default), a variant, or either without the publisher
        if only one model is called so. Raises ApiError: 404 naming what there is, 503 without workers or Redis."""
        if self._away:  # known already: nobody has to wait for another time-out
            raise without_redis(self._away)
        name = name or self._default
        card = self._find(name)
        if card is None:
            await self.refresh()
            card = self._find(name)
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

    def _find(self, name: str) -> ModelCard | None:
        key, label = _split(name)
        called = self._called(key)
        if len(called) != 1:
            return None
        cards = (card for card in self._cards if card.key == called[0])  # the default variant is the first
        return next((card for card in cards if label is None or card.id.casefold().endswith(f"@{label}")), None)

    def _called(self, name: str) -> list[str]:
        """The keys of the models with this name: a key, or what follows the publisher in one."""
        keys = list(dict.fromkeys(card.key for card in self._cards))
        exact = [key for key in keys if key.casefold() == name]
        return exact or [key for key in keys if key.casefold().rpartition("/")[2] == name]

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
