"""Ids as OpenAI writes them: a prefix for the noun and an unguessable rest of 192 random bits."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """`prefix`, an underscore and 48 hexadecimal digits, e.g. `resp_5f0c...`."""
    return f"{prefix}_{secrets.token_hex(24)}"
