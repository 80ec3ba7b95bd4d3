"""What the catalog speaks of: a model, its variants, and the error for a name that means none of them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.catalog.folders import Source
from shared.catalog.header import Header
from shared.catalog.naming import parameters_label

LISTED_IN_ERRORS = 10  # names


class ModelNotFoundError(LookupError):
    """No usable model has this name; the message says which are available, close matches first."""

    def __init__(self, name: str, available: list[str], reason: str | None = None) -> None:
        self.name = name
        self.available = available
        listed = ", ".join(available[:LISTED_IN_ERRORS]) or "none"
        more = f" and {len(available) - LISTED_IN_ERRORS} more" if len(available) > LISTED_IN_ERRORS else ""
        super().__init__(f"{reason or f'no model is called {name!r}'}; available: {listed}{more}")


class Variant(msgspec.Struct, frozen=True):
    """One file of a model, or one set of split files, in one quantization."""

    model: str  # the model's key: google/gemma-3-12b
    label: str  # the part after the @: q3_k_l
    quantization: str  # Q3_K_L
    source: Source
    paths: tuple[Path, ...]  # the parts that are there, in order
    part_count: int  # how many there should be
    size_bytes: int  # of all parts that are there
    header: Header | None  # of the first part, with the parameters and bytes of all; None if it cannot be read
    broken: str | None = None  # why it cannot be loaded

    @property
    def id(self) -> str:
        """The full name: google/gemma-3-12b@q3_k_l."""
        return f"{self.model}@{self.label}"

    @property
    def path(self) -> Path:
        """What llama.cpp loads; it finds the other parts itself."""
        return self.paths[0]

    @property
    def parameters_label(self) -> str | None:
        """The number of parameters as people say it: `12B`."""
        return parameters_label(self.header.parameters) if self.header else None


class Model(msgspec.Struct, frozen=True):
    """The variants of one model, the preferred one first and the broken ones last."""

    key: str  # publisher/model
    variants: tuple[Variant, ...]
    projector: Path | None = None  # what turns images into embeddings for it (an mmproj file)

    @property
    def default(self) -> Variant | None:
        """The variant that the bare key means (naming.PREFERENCE), None if all are broken."""
        return next((variant for variant in self.variants if not variant.broken), None)

    @property
    def name(self) -> str:
        """The key without its publisher."""
        return self.key.rpartition("/")[2]
