"""The models of this process: loaded when first asked for, kept while used, the least recently used one goes first."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from shared.catalog import Catalog, Variant
from shared.schema.models import ModelCard
from shared.settings import Settings
from workers.engine.core import Engine, ModelLoadError
from workers.grammar.grammars import Grammars
from workers.grammar.vocabulary import Vocabulary
from workers.prompt import Prompter
from workers.template import TemplateError
from workers.templates import Templates

log = structlog.get_logger()

FIRST_PAUSE_SECONDS = 15.0  # before a model that could not be loaded is tried again; doubled each time
LONGEST_PAUSE_SECONDS = 600.0

Loader = Callable[[Path, Settings, Callable[[float], None], Path | None], Engine]
"""Loads an engine, blocking; it is told a function to report progress to, from 0 to 1, and the model's projector."""


@dataclass(slots=True)
class LoadedModel:
    engine: Engine
    prompter: Prompter
    grammars: Grammars
    users: int = 0


@dataclass(slots=True)
class Broken:
    """Why a model could not be loaded, and until when nobody has to try again unless its file changes."""

    reason: str
    until: float  # of the monotonic clock
    pause: float
    file: tuple[int, int] | None  # when it was changed, and its size


@dataclass(frozen=True, slots=True)
class Served:
    """A variant this worker serves."""

    variant: Variant
    default: bool  # whether the model's key alone means it
    projector: Path | None = None  # through which it is shown images


def served(catalog: Catalog, names: Sequence[str]) -> list[Served]:
    """The variants that `names` mean, or the whole catalog, whose broken files are served as unavailable. Raises
    ModelNotFoundError."""
    catalog.scan()
    defaults = {model.default.id for model in catalog.models if model.default}
    if names:
        chosen = list({variant.id: variant for variant in map(catalog.find, names)}.values())
        defaults = {next(v.id for v in chosen if v.model == variant.model) for variant in chosen}
    else:
        chosen = [variant for model in catalog.models for variant in model.variants]
    projectors = {model.key: model.projector for model in catalog.models}
    return [Served(variant, variant.id in defaults, projectors.get(variant.model)) for variant in chosen]


class Models:
    """What this worker serves, and what of it is in memory."""

    def __init__(
        self, served: Sequence[Served], settings: Settings, loader: Loader, templates: Templates | None = None
    ) -> None:
        """`templates`: where chat templates are rendered; without, in a process of its own."""
        self._served = {entry.variant.id: entry for entry in served}
        self._created = {entry.variant.id: int(entry.variant.path.stat().st_mtime) for entry in served}
        self._settings = settings
        self._loader = loader
        self._templates = templates or Templates()
        self._own_templates = templates is None
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._broken: dict[str, Broken] = {}
        for variant in (entry.variant for entry in served):
            if variant.broken:
                self._note_broken(variant.id, f"{variant.path.name}: {variant.broken}", _file(variant.path))
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def use(self, model: str) -> AsyncIterator[LoadedModel]:
        """A loaded model, which stays loaded meanwhile. Raises KeyError; ModelLoadError, at once where the last load
        has just failed."""
        broken = self._broken.get(model)
        if broken and not self._is_due(model, broken):
            raise ModelLoadError(self._served[model].variant.path, broken.reason)
        loaded = self._loaded.get(model) or await self._load(model)
        self._loaded.move_to_end(model)
        loaded.users += 1
        try:
            yield loaded
        finally:
            loaded.users -= 1

    @property
    def broken(self) -> set[str]:
        """The models that cannot be loaded at the moment."""
        return set(self._broken)

    async def mend(self) -> bool:
        """Tries again what could not be loaded, where its pause is over or its file has changed; whether it did."""
        due = [model for model, broken in self._broken.items() if self._is_due(model, broken)]
        for model in due:
            if len(self._loaded) >= self._settings.max_loaded_models:
                self._broken.pop(model, None)  # no other model has to go for this: the next request tries it
                continue
            try:
                async with self.use(model):
                    log.info("model_mended", model=model)
            except ModelLoadError as error:
                log.warning("model_still_broken", model=model, error=error.reason)
        return bool(due)

    def cards(self) -> list[ModelCard]:
        """What the registry is told of each model."""
        return [self._card(served) for served in self._served.values()]

    async def close(self) -> None:
        while self._loaded:
            _, loaded = self._loaded.popitem()
            await loaded.engine.close()
        if self._own_templates:
            await self._templates.close()

    async def _load(self, model: str) -> LoadedModel:
        async with self._lock:
            if loaded := self._loaded.get(model):
                return loaded
            variant, projector = self._served[model].variant, self._served[model].projector
            await self._make_room()
            file = _file(variant.path)
            try:
                progress = _Progress(model).report
                await self._templates.start()  # what it has to import it imports while the model is loaded
                engine = await asyncio.to_thread(self._loader, variant.path, self._settings, progress, projector)
                try:
                    prompter = await Prompter.load(engine, self._templates)
                except TemplateError as error:
                    await engine.close()
                    raise ModelLoadError(variant.path, str(error)) from error
            except ModelLoadError as error:
                self._note_broken(model, error.reason, file)
                raise
            except Exception as error:  # such as MemoryError: whatever it is, other models serve on
                reason = f"{variant.path.name}: {type(error).__name__}: {error}"
                self._note_broken(model, reason, file)
                raise ModelLoadError(variant.path, reason) from error
            self._broken.pop(model, None)
            # now, as it stops this process' other threads: 0.4 s for a vocabulary of 150k tokens
            grammars = await asyncio.to_thread(_grammars, engine)
            self._loaded[model] = LoadedModel(engine, prompter, grammars)
            log.info("model_loaded", model=model, context_length=engine.model.context_length)
            return self._loaded[model]

    def _note_broken(self, model: str, reason: str, file: tuple[int, int] | None) -> None:
        before = self._broken.get(model)
        pause = min(2 * before.pause, LONGEST_PAUSE_SECONDS) if before else FIRST_PAUSE_SECONDS
        log.error("model_broken", model=model, error=reason, again_in_seconds=pause)
        self._broken[model] = Broken(reason, time.monotonic() + pause, pause, file)

    def _is_due(self, model: str, broken: Broken) -> bool:
        return time.monotonic() >= broken.until or _file(self._served[model].variant.path) != broken.file

    async def _make_room(self) -> None:
        idle = [name for name, loaded in self._loaded.items() if not loaded.users]
        surplus = len(self._loaded) + 1 - self._settings.max_loaded_models
        for name in idle[: max(surplus, 0)]:
            log.info("model_unloaded", model=name)
            await self._loaded.pop(name).engine.close()

    def _card(self, served: Served) -> ModelCard:
        variant, header = served.variant, served.variant.header
        loaded = self._loaded.get(variant.id)
        broken = self._broken.get(variant.id)
        trained = header.context_length if header else None
        return ModelCard(
            id=variant.id,
            key=variant.model,
            default=served.default,
            created=self._created[variant.id],
            context_length=loaded.engine.model.context_length if loaded else context_length(trained, self._settings),
            architecture=(header.architecture if header else None) or "",
            parameters=variant.parameters_label or "",
            quantization=variant.quantization,
            vision=loaded.engine.model.vision if loaded else served.projector is not None,
            state="unavailable" if broken else "loaded" if loaded else "available",
            reason=broken.reason if broken else None,
        )


def context_length(trained: int | None, settings: Settings) -> int:
    """Tokens one sequence may hold: what the settings say, at most what the model was trained for, else at most 32k."""
    if settings.context_length:
        return min(settings.context_length, trained) if trained else settings.context_length
    return min(trained or 4096, 32768)


def _file(path: Path) -> tuple[int, int] | None:
    """What tells whether a file has changed; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _grammars(engine: Engine) -> Grammars:
    model = engine.model
    pieces = [engine.piece(token) for token in range(model.vocab_size)]
    vocabulary = Vocabulary.of_pieces(
        pieces,
        model.special_tokens,
        sorted(model.end_tokens) or [model.vocab_size - 1],  # llguidance wants one
        lambda text: engine.tokenize(text, special=False),
    )
    return Grammars(vocabulary)


class _Progress:
    """Logs the progress of a load that takes long, a line a second."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._next = time.monotonic() + 1

    def report(self, fraction: float) -> None:
        if time.monotonic() >= self._next:
            log.info("model_loading", model=self._model, percent=int(fraction * 100))
            self._next = time.monotonic() + 1
