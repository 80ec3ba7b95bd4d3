"""A call's arguments, as the model or a client has written them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

MAX_LEVELS = 64  # as in a request's own JSON; templates give up over some 200

_object = msgspec.json.Decoder(dict[str, Any])


def read_arguments(text: str) -> dict[str, Any]:
    """The JSON object that a call's `arguments` spell; none are an empty one.

    Raises ValueError for all else, also for what Python reads and JSON or UTF-8 cannot say: NaN, numbers without an
    end, half of a surrogate pair, more levels than MAX_LEVELS. Neither a server nor a template could be given it.
    """
    try:
        read = _object.decode(text or "{}")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level: list[Any] = [read]
    for _ in range(MAX_LEVELS):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return read
    raise ValueError("nested too deeply")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
