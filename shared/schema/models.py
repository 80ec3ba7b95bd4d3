"""`GET /v1/models` and what a worker says of a model it serves."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field


class ModelCard(Struct, kw_only=True):
    """One variant a live worker serves, as it stands in the registry. Sizes in tokens."""

    id: str  # publisher/model@variant
    key: str  # publisher/model
    default: bool  # whether the key alone means this variant
    created: int  # Unix seconds: the file's modification time
    context_length: int  # tokens one sequence may hold, prompt and answer together
    architecture: str = ""
    parameters: str = ""
    quantization: str = ""
    vision: bool = False  # it can be shown images
    state: Literal["available", "loaded", "unavailable"] = "available"
    reason: str | None = None  # why it is unavailable


class Model(Struct, kw_only=True):
    """OpenAI's model object, with what a user of local models wants to know besides."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    context_length: int
    architecture: str
    parameters: str
    quantization: str
    vision: bool
    variants: list[str] = field(default_factory=list)


class ModelList(Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Model]
