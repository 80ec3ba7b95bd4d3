"""Ids as OpenAI writes them: a prefix for the noun and an unguessable rest of 192 random bits."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """`prefix`, an underscore and 48 hexadecimal digits, e.g. `resp_5f0c...`."""
    return f"{prefix}_{secrets.token_hex(24)}"


def item_id(prefix: str, response_id: str, position: int) -> str:
    """The id of a response's item: it carries the response's own random part, so that a reference finds it.

    Input items are numbered from 0, output items from OUTPUT_POSITIONS on.
    """
    return f"{prefix}_{response_id.removeprefix('resp_')}{position:04x}"


def response_of(item_id: str) -> str:
    """The response an item belongs to, if `item_id` is one of ours."""
    return f"resp_{item_id.partition('_')[2][:48]}"


OUTPUT_POSITIONS = 0x8000
