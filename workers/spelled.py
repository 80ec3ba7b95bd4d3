"""Markers that a conversation only spells: a user's `<|im_end|>` is text, and must not become the token of that name.

Where a text spells a token that steers the model, a mark that nobody can guess is put behind the first character before
the chat template is rendered. The prompt is cut there, and its parts are tokenized one by one: in none of them is the
marker whole. A prompt that spells no marker is rendered and tokenized as if this did not exist.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from itertools import takewhile
from typing import Any

from workers.dialects.history import Messages
from workers.engine.core import Engine, Picture

UNTOUCHED = frozenset({"role", "type", "id", "tool_call_id"})


class Markers:
    """The markers of one model: its control tokens, and what its template writes of its other special tokens."""

    def __init__(self, engine: Engine, template: str, think: Collection[str]) -> None:
        """`think`: the markers of reasoning, which templates look for in what the assistant said."""
        model = engine.model
        texts = {token: engine.piece(token).decode(errors="replace") for token in model.special_tokens}
        steering = {
            text for token, text in texts.items() if text and (token in model.control_tokens or text in template)
        }
        self._all = _pattern(steering)
        self._assistant = _pattern(steering - set(think))

    def spelled(self) -> Spelled:
        """For one rendering."""
        return Spelled(self._all, self._assistant)


class Spelled:
    """Takes markers apart, and the prompt with them."""

    def __init__(self, markers: re.Pattern[str], assistant: re.Pattern[str]) -> None:
        self._all = markers
        self._assistant = assistant
        self._mark = secrets.token_hex(16)
        self._used = False

    def messages(self, messages: Messages) -> Messages:
        """The messages as the template may see them."""
        return [self._apart(one, self._assistant if one["role"] == "assistant" else self._all) for one in messages]

    def tools(self, offered: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [self._apart(tool, self._all) for tool in offered]

    def whole(self, text: str) -> str:
        """A rendered prompt as it reads."""
        return text.replace(self._mark, "") if self._used else text

    def cut(self, parts: list[str | Picture]) -> list[str | Picture]:
        """The parts of a rendered prompt, cut further where a marker was taken apart."""
        if not self._used:
            return parts
        cut: list[str | Picture] = []
        for part in parts:
            cut += part.split(self._mark) if isinstance(part, str) else [part]
        return [part for part in cut if part]

    def _apart(self, value: Any, markers: re.Pattern[str]) -> Any:
        if isinstance(value, str):
            apart = markers.sub(lambda match: match.group() + self._mark, value)
            self._used |= apart != value
            return apart
        if isinstance(value, dict):
            pairs = value.items()
            return {self._apart(k, markers): v if k in UNTOUCHED else self._apart(v, markers) for k, v in pairs}
        return [self._apart(inner, markers) for inner in value] if isinstance(value, list) else value


def _pattern(markers: Collection[str]) -> re.Pattern[str]:
    """Finds the first character of each marker, also of those that overlap.

    Models have thousands of markers: trying one after the other at each character took 5 s for a megabyte.
    """
    rests: dict[str, set[str]] = {}
    for marker in markers:
        if len(marker) > 1:
            rests.setdefault(marker[0], set()).add(marker[1:])
    first = (f"{re.escape(character)}(?={_any_of(rests[character])})" for character in sorted(rests))
    return re.compile("|".join(first) or "(?!)", re.DOTALL)


def _any_of(texts: set[str]) -> str:
    """A pattern that matches where one of the texts begins, their common beginnings tried once."""
    if "" in texts:
        return ""
    beginning = _common_beginning(min(texts), max(texts))
    rests: dict[str, set[str]] = {}
    for text in texts:
        rest = text[len(beginning) :]
        rests.setdefault(rest[:1], set()).add(rest[1:])
    if "" in rests:
        return re.escape(beginning)
    return re.escape(beginning) + f"(?:{'|'.join(re.escape(one) + _any_of(rests[one]) for one in sorted(rests))})"


def _common_beginning(one: str, other: str) -> str:
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
