"""The models of this process: loaded when first asked for, kept while used, the least recently used one goes first."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import structlog

from shared.catalog import Catalog, Variant
from shared.schema.models import ModelCard
from shared.settings import Settings
from workers.engine.core import Engine, ModelLoadError
from workers.grammar.grammars import Grammars
from workers.grammar.vocabulary import Vocabulary
from workers.load_marks import LoadMarks
from workers.prompt import Prompter
from workers.template import TemplateError
from workers.templates import Templates

log = structlog.get_logger()

FIRST_PAUSE_SECONDS = 15.0  # before a model that could not be loaded is tried again; doubled each time
LONGEST_PAUSE_SECONDS = 600.0
FIRST_PAUSE_AFTER_LOSS_SECONDS = 60.0  # likewise for one whose load has ended a process: whoever starts those again and
# again gives up when they end too often
LOST = "loading it ended the process: llama.cpp cannot bear this file, or there is too little memory"

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
    lost: int = 0  # how many loads in a row have ended their process


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
        self,
        served: Sequence[Served],
        settings: Settings,
        loader: Loader,
        templates: Templates | None = None,
        marks: LoadMarks | None = None,
    ) -> None:
        """`templates`: where chat templates are rendered; without, in a process of its own. `marks`: where it is noted
        what is being loaded; without, nobody learns of a load that ends this process."""
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
        self._marks = marks
        self._lock = asyncio.Lock()
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}
        self._awaited = Counter[str]()  # who waits for a model to be loaded

    async def recall(self) -> None:
        """Notes which models have ended the processes that loaded them, so that this one need not try."""
        if self._marks is None:
            return
        models = [model for model in self._served if model not in self._broken]
        versions = [_file(self._served[model].variant.path) for model in models]
        names = [self._version(model, file) for model, file in zip(models, versions, strict=True)]
        for model, file, past in zip(models, versions, await self._marks.past(names), strict=True):
            if past.lost > 0:
                self._note_lost(model, past.lost, file)

    @asynccontextmanager
    async def use(self, model: str) -> AsyncIterator[LoadedModel]:
        """A loaded model, which stays loaded meanwhile. Raises KeyError; ModelLoadError, at once where the last load
        has just failed."""
        broken = self._broken.get(model)
        if broken and not self._is_due(model, broken):
            raise ModelLoadError(self._served[model].variant.path, broken.reason)
        loaded = self._loaded.get(model) or await self._load_once(model)
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
            if len(self._loaded) >= self._settings.max_loaded_models and not self._broken[model].lost:
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
        """Frees what is loaded; what is being loaded is left to its thread."""
        for loading in self._loading.values():
            loading.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        if self._marks:
            await self._marks.close()
        while self._loaded:
            _, loaded = self._loaded.popitem()
            await loaded.engine.close()
        if self._own_templates:
            await self._templates.close()

    async def _load_once(self, model: str) -> LoadedModel:
        """Waits for a model that is being loaded, whoever asked first. The load goes on when nobody waits any more: no
        call of llama.cpp can be interrupted, and what it brings is there for the next one."""
        loading = self._loading.get(model)
        if loading is None:
            loading = self._loading[model] = asyncio.create_task(self._load(model))
            loading.add_done_callback(lambda done: self._load_ended(model, done))
        self._awaited[model] += 1
        try:
            return await asyncio.shield(loading)
        finally:
            self._awaited[model] -= 1

    def _load_ended(self, model: str, done: asyncio.Task[LoadedModel]) -> None:
        del self._loading[model]
        if not done.cancelled():
            done.exception()  # it has been logged, and whoever waits is told

    async def _load(self, model: str) -> LoadedModel:
        async with self._lock:
            file = _file(self._served[model].variant.path)
            await self._refuse_lost(model, file)
            await self._make_room()
            async with self._marked(model, file):
                loaded = await self._load_marked(model, file)
            self._broken.pop(model, None)
            self._loaded[model] = loaded
            log.info("model_loaded", model=model, context_length=loaded.engine.model.context_length)
            return loaded

    async def _load_marked(self, model: str, file: tuple[int, int] | None) -> LoadedModel:
        variant, projector = self._served[model].variant, self._served[model].projector
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
        # now, as it stops this process' other threads: 0.4 s for a vocabulary of 150k tokens
        return LoadedModel(engine, prompter, await asyncio.to_thread(_grammars, engine))

    async def _refuse_lost(self, model: str, file: tuple[int, int] | None) -> None:
        """Raises ModelLoadError where the load of this file has ended a process, unless its pause here is over."""
        if self._marks is None:
            return
        [past] = await self._marks.past([self._version(model, file)])
        broken = self._broken.get(model)
        known = broken.lost if broken and broken.file == file else 0
        if past.lost > known or (past.lost > 0 and past.tried):
            self._note_lost(model, past.lost, file)
            raise ModelLoadError(self._served[model].variant.path, LOST)

    def _marked(self, model: str, file: tuple[int, int] | None) -> AbstractAsyncContextManager[None]:
        return self._marks.loading(self._version(model, file)) if self._marks else nullcontext()

    def _version(self, model: str, file: tuple[int, int] | None) -> str:
        """What a load depends on: the file, and what of the settings takes memory."""
        path, settings = self._served[model].variant.path, self._settings
        sizes = settings.context_length, settings.kv_tokens, settings.slots, settings.gpu_layers, settings.batch_tokens
        return f"{path} {file} {sizes}"

    def _note_lost(self, model: str, lost: int, file: tuple[int, int] | None) -> None:
        reason = f"{self._served[model].variant.path.name}: {LOST}"
        pause = min(FIRST_PAUSE_AFTER_LOSS_SECONDS * 2 ** min(lost - 1, 10), LONGEST_PAUSE_SECONDS)
        log.error("model_broken", model=model, error=reason, times=lost, again_in_seconds=pause)
        self._broken[model] = Broken(reason, time.monotonic() + pause, pause, file, lost)

    def _note_broken(self, model: str, reason: str, file: tuple[int, int] | None) -> None:
        before = self._broken.get(model)
        pause = min(2 * before.pause, LONGEST_PAUSE_SECONDS) if before else FIRST_PAUSE_SECONDS
        log.error("model_broken", model=model, error=reason, again_in_seconds=pause)
        lost = before.lost if before and before.file == file else 0
        self._broken[model] = Broken(reason, time.monotonic() + pause, pause, file, lost)

    def _is_due(self, model: str, broken: Broken) -> bool:
        """Whether a broken model is to be tried again; one that may end this process, while nothing runs here if that
        is soon the case."""
        if _file(self._served[model].variant.path) != broken.file:
            return True
        runs = any(loaded.users for loaded in self._loaded.values())
        late = time.monotonic() - broken.until
        return late >= 0 and (not (broken.lost and runs) or late >= LONGEST_PAUSE_SECONDS)

    async def _make_room(self) -> None:
        idle = [name for name, loaded in self._loaded.items() if not loaded.users and not self._awaited[name]]
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
