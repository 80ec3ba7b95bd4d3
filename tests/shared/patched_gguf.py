"""A GGUF file with another number in its header."""

from __future__ import annotations

import struct


def patched(whole: bytes, key: str, value: float, layout: str = "<I") -> bytes:
    """The file `whole` with `value` under `key`, whose type is `layout` as `struct` has it."""
    name = struct.pack("<Q", len(key)) + key.encode()
    start = whole.index(name) + len(name) + 4  # behind the type
    return whole[:start] + struct.pack(layout, value) + whole[start + struct.calcsize(layout) :]
