"""The operator's limits on what a request may hold; each refusal names the place and the limit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate

import msgspec

from api.errors import ApiError
from shared.schema.request import CreateResponse
from shared.settings import Settings

NAMES = (
    "model",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
)
"""The fields of a request that hold an id, a name or a key."""

MAX_TOOLS = 512
MAX_PARTS = 16384  # of all items together: content, and what tools returned

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def check_limits(request: CreateResponse, settings: Settings) -> None:
    """Raises ApiError where a request is longer or deeper than the settings allow."""
    for field in NAMES:
        check_name(getattr(request, field), field, settings)
    check_name(request.conversation_id, "conversation", settings)
    if request.metadata:
        check_metadata(request.metadata, settings)
    if isinstance(request.input, list):
        check_nesting(request.input[: settings.max_input_items], "input", settings)  # more are refused by their number
    check_nesting((request.tools or [])[:MAX_TOOLS], "tools", settings)


def check_name(value: str | None, where: str, settings: Settings) -> None:
    """Raises ApiError for an id, a name or a key that is too long."""
    if value is not None:
        _check_length(value, where, settings.max_name_length)


def check_metadata(metadata: Mapping[str, str], settings: Settings) -> None:
    """Raises ApiError for more pairs, longer keys or longer values than the settings allow."""
    if len(metadata) > settings.max_metadata_pairs:
        message = f"metadata has {len(metadata)} pairs, {settings.max_metadata_pairs} are allowed."
        raise ApiError(400, message, param="metadata", code="object_above_max_properties")
    for key, value in metadata.items():
        if len(key) > settings.max_metadata_key_length:
            message = f"metadata has a key of {len(key)} characters, {settings.max_metadata_key_length} are allowed."
            raise ApiError(400, message, param="metadata", code="string_above_max_length")
        _check_length(value, join("metadata", key), settings.max_metadata_value_length)


def check_nesting(values: Iterable[msgspec.Raw], where: str, settings: Settings) -> None:
    """Raises ApiError for a value of the list at `where`, which is known to be JSON, that is nested too deeply."""
    for position, raw in enumerate(values):
        if _too_deep(raw, settings.max_nesting):
            place = f"{where}[{position}]"
            message = f"{place} is nested too deeply: {settings.max_nesting} levels are allowed."
            raise ApiError(400, message, param=place, code="invalid_value")


def _too_deep(raw: msgspec.Raw, levels: int) -> bool:
    """One pass, in pieces: between them other threads have their turn."""
    encoded = bytes(raw)
    if encoded.count(b"[") + encoded.count(b"{") <= levels:
        return False
    text = encoded.replace(b"\\\\", b"").replace(b'\\"', b"")  # the quotes that are left begin and end strings
    depth, in_string = 0, False
    for start in range(0, len(text), _PIECE):
        parts = text[start : start + _PIECE].split(b'"')
        steps = b"".join(parts[in_string::2]).translate(_STEPS, _OTHERS)
        in_string ^= len(parts) % 2 == 0
        if steps:
            depths = list(accumulate(memoryview(steps).cast("b"), initial=depth))
            if max(depths) > levels:
                return True
            depth = depths[-1]
    return False


def join(where: str, key: str) -> str:
    """The path of a value in an object."""
    return f"{where}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{where}[{json.dumps(key, ensure_ascii=False)}]"


def _check_length(value: str, where: str, limit: int) -> None:
    if len(value) > limit:
        message = f"{where} has {len(value)} characters, {limit} are allowed."
        raise ApiError(400, message, param=where, code="string_above_max_length")


_PIECE = 1 << 16
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: a level deeper, a level less
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
