"""Names of parameters that a schema does not list: whether they fit a pattern, and how a grammar writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from shared.grammar import json_grammar
from shared.trial import LIMITS, tried

FREE_NAME = "/[A-Za-z_][A-Za-z0-9_]{0,63}/"
PLAIN_NAME = "/[A-Za-z0-9_.$@-]{1,64}/"  # what a pattern may ask for
SHORT = 256
MAX_PATTERNS = 16  # of one schema that names are made up for

_PLAIN = re.compile(PLAIN_NAME.strip("/"))
_PARTS = re.compile(r"\\.|\[\^?\]?(?:[^\]\\]|\\.)*\]|\((?:\?[^:)]*[:)]?)?|.", re.DOTALL)
_REPEATS = re.compile(r"[*+?{]")
_UNSEEN = re.compile(r"\\[AbBGzZ]|\(\?[^:]*[=!<].*", re.DOTALL)  # anchors inside, look-around, names of groups


def fits(pattern: str, name: str) -> bool:
    """Whether a property's name has a match of a pattern in it. False for a pattern that llguidance cannot follow."""
    short = len(pattern) <= SHORT and len(name) <= SHORT
    return _known_fit(pattern, name) if short else _fits(pattern, name)


@lru_cache(maxsize=32 * 1024)
def _known_fit(pattern: str, name: str) -> bool:
    if len(_REPEATS.findall(pattern)) <= 1 and not name.endswith("\n"):
        try:
            return re.search(pattern, name, re.ASCII) is not None  # which looks back, but not twice
        except re.error:
            pass
    return _fits(pattern, name)


def _fits(pattern: str, name: str) -> bool:
    """As llguidance judges it: what it costs does not explode, but is a hundred times as much."""
    matcher = _text(pattern).deep_copy()
    text = json.dumps(name, ensure_ascii=False).encode(errors="replace")
    return not matcher.is_error() and matcher.consume_tokens(list(text)) and matcher.is_accepting()


def unlisted(schema: Mapping[str, Any], taken: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Terminals for names that an object's schema does not list, each with the schema of their values.

    `taken`: names that are not among them. No name is in two terminals; what a pattern wants that cannot be written as
    one is left out.
    """
    given = schema.get("patternProperties")
    patterns: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    written = {pattern: searched(pattern) for pattern in patterns}
    listed = "|".join(re.escape(name).replace("/", r"\/") for name in sorted(taken) if _PLAIN.fullmatch(name))
    barred = [f"~/({listed})/"] if listed else []
    others = schema.get("additionalProperties", True)
    if None in written.values():
        return
    for pattern, inner in list(patterns.items())[:MAX_PATTERNS]:
        elsewhere = [f"~/{regex}/" for other, regex in written.items() if other != pattern]
        terminal = " & ".join([PLAIN_NAME, f"/{written[pattern]}/", *elsewhere, *barred])
        if inner is not False and _possible(terminal):
            yield terminal, inner
    terminal = " & ".join([FREE_NAME, *(f"~/{regex}/" for regex in written.values()), *barred])
    if others is not False and _possible(terminal):
        yield terminal, others


def searched(pattern: str) -> str | None:
    """A regular expression, as grammars have it between slashes, for the texts in which JSON Schema finds a pattern:
    without anchors. None where an anchor is not at an end of the whole, or more is looked at than is matched."""
    options: list[str] = []
    parts: list[str] = []
    depth = 0
    for part in [*_PARTS.findall(pattern), "|"]:
        if part == "|" and depth == 0:
            if (option := _unanchored(parts)) is None:
                return None
            options.append(option)
            parts = []
            continue
        if _UNSEEN.fullmatch(part):
            return None
        depth += part.startswith("(") and not part.endswith(")")
        depth -= part == ")"
        parts.append(part)
    return "|".join(options) if depth == 0 else None


def _unanchored(parts: list[str]) -> str | None:
    begins = parts[:1] == ["^"]
    ends = parts[begins:][-1:] == ["$"]
    inside = parts[begins : len(parts) - ends]
    if "^" in inside or "$" in inside:
        return None
    body = "".join({"/": r"\/", "\n": r"\n"}.get(part, part) for part in inside)
    return f"{'' if begins else '(?s:.*)'}({body}){'' if ends else '(?s:.*)'}"


@lru_cache(maxsize=64)
def _text(pattern: str) -> LLMatcher:
    """A matcher for JSON strings with a match of a pattern in them."""
    return LLMatcher(_bytes(), json_grammar({"type": "string", "pattern": pattern}), log_level=0, limits=LIMITS)


def _possible(terminal: str) -> bool:
    return tried(LLMatcher.grammar_from_lark(f"start: T\nT: {terminal}")) is None


@cache
def _bytes() -> LLTokenizer:
    return LLTokenizer("byte")
