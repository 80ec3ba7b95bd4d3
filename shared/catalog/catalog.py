"""The models on this machine, and which file a model's name in a request means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from shared.catalog.folders import find_file_sets
from shared.catalog.models import Model, ModelNotFoundError, Variant
from shared.catalog.reading import HeaderCache, merge, read_model
from shared.similar import closest


class Catalog:
    """The models found in `models_dir`, LM Studio's folder and the Hugging Face cache, in this order of precedence.

    `scan` looks again; headers of files that did not change are kept, so it then costs a walk over the folders.
    """

    def __init__(self, models_dir: Path, environ: Mapping[str, str] | None = None) -> None:
        self._models_dir = models_dir
        self._environ = os.environ if environ is None else environ
        self._headers = HeaderCache()
        self._models: tuple[Model, ...] | None = None

    @property
    def models(self) -> tuple[Model, ...]:
        """What the latest scan found, sorted by key; the first call scans."""
        return self.scan() if self._models is None else self._models

    def scan(self) -> tuple[Model, ...]:
        """Looks at the folders now: milliseconds a file that is new, microseconds a known one. Reads no weights."""
        sets = find_file_sets(self._models_dir, self._environ)
        models: dict[str, Model] = {}
        sets.sort(key=lambda files: files.model.casefold())  # stable: the sources stay in their order
        for (key, _), group in groupby(sets, key=lambda files: (files.model.casefold(), files.source)):
            model = read_model(list(group), self._headers)
            models[key] = merge(models[key], model) if key in models else model
        self._headers.keep_only({path for files in sets for path in files.paths})
        self._models = tuple(model for model in models.values() if model.variants)
        return self._models

    def find(self, name: str) -> Variant:
        """The variant that `name` means: a key (then its default), a variant, or either without the publisher if only
        one model is called so. Case does not matter. Raises ModelNotFoundError."""
        wanted = name.strip().casefold()
        key, _, label = wanted.rpartition("@")
        for candidate, of_it in ((wanted, ""), (key, label)):
            matches = self._called(candidate)
            if len(matches) > 1:
                choices = [model.key for model in matches]
                raise ModelNotFoundError(name, choices, f"several models are called {candidate!r}")
            if matches:
                return self._variant(name, matches[0], of_it)
        raise ModelNotFoundError(name, self._closest(key or wanted))

    def _called(self, name: str) -> list[Model]:
        exact = [model for model in self.models if model.key.casefold() == name]
        return exact or [model for model in self.models if model.name.casefold() == name]

    def _variant(self, name: str, model: Model, label: str) -> Variant:
        found = next((v for v in model.variants if v.label == label), None) if label else model.default
        if found and not found.broken:
            return found
        if found:
            reason = f"{found.id} is broken: {found.broken}"
        elif label:
            reason = f"{model.key} has no variant {label!r}"
        else:
            reason = f"{model.key} is broken: {model.variants[0].broken}"
        usable = [variant.id for variant in model.variants if not variant.broken]
        raise ModelNotFoundError(name, usable or self._closest(name), reason)

    def _closest(self, name: str) -> list[str]:
        """Every usable model's key, the most similar to `name` first."""
        return closest(name, [model.key for model in self.models if model.default])
