"""A call's arguments, as the model or a client has written them."""

from __future__ import annotations

from typing import Any

import msgspec

_object = msgspec.json.Decoder(dict[str, Any])


def read_arguments(text: str) -> dict[str, Any]:
    """The JSON object that a call's `arguments` spell; none are an empty one.

    Raises ValueError for all else, also for what Python reads and JSON or UTF-8 cannot say: NaN, numbers without an
    end, half of a surrogate pair. Neither a server nor a template could be given it.
    """
    try:
        return _object.decode(text or "{}")
    except RecursionError:
        raise ValueError("nested too deeply") from None
