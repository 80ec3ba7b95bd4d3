"""What no output can be held to."""

from __future__ import annotations


class Unsupported(ValueError):
    """Something that no output can be held to. `path` leads to it, such as `properties.a.anyOf[0]`; "" is the whole."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path
