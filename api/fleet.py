"""Which models the live workers serve, as this front end last heard; names are resolved here."""

from __future__ import annotations

import asyncio

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.errors import ApiError, unavailable
from shared.redis import registry
from shared.schema.models import Model, ModelCard

log = structlog.get_logger()

REFRESH_SECONDS = 1.0


class Fleet:
    """A picture of the live workers, refreshed every second and whenever a name is not found in it."""

    def __init__(self, redis: Redis, default_model: str) -> None:
        self._redis = redis
        self._default = default_model
        self._cards: list[ModelCard] = []
        self._workers = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.refresh()
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def refresh(self) -> None:
        workers = await registry.live_workers(self._redis)
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
        """The variant a request's `model` means. Raises ApiError: 404 naming what there is, 503 without workers."""
        name = name or self._default
        card = self._find(name)
        if card is None:
            await self.refresh()
            card = self._find(name)
        if card is None and not self._workers:
            raise unavailable("No worker is running. Start one with `llamarelay worker`.", code="no_worker")
        if card is None:
            available = ", ".join(model.id for model in self.models()) or "none"
            message = f"The model '{name}' does not exist here. Available: {available}."
            raise ApiError(404, message, param="model", code="model_not_found")
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

    def model(self, name: str) -> Model | None:
        """One model by its key, or one variant by its full name."""
        card = self._find(name)
        if card is None:
            return None
        if "@" in name:
            return _model(card, card.id)
        return next(model for model in self.models() if model.id == card.key)

    def _find(self, name: str) -> ModelCard | None:
        wanted = name.lower()
        if "@" in wanted:
            return next((card for card in self._cards if card.id.lower() == wanted), None)
        return next((card for card in self._cards if card.key.lower() == wanted), None)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except RedisError as error:
                log.warning("registry_unreadable", error=str(error))


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
