"""Whether a text by a grammar can be written at all: tried on a vocabulary of bytes, a few steps far.

llguidance takes a grammar without looking far into it. What has no way on, or costs more than its limits allow, shows
when a text is written; here it shows before there is a response.
"""

from __future__ import annotations

from functools import cache, lru_cache

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

LIMITS = LLParserLimits(
    max_grammar_size=200_000,
    initial_lexer_fuel=1_000_000,  # about 20 ms
    step_lexer_fuel=200_000,  # about 15 ms a mask
    step_max_items=50_000,
    max_lexer_states=50_000,  # about 100 MB
    verbose_errors=False,
)

STEPS = 24  # what is forced is one of them
FORCED_BYTES = 4096  # of a walk: 80,000 would take seconds
TRIALS = 64  # of one request: about a millisecond each, at worst some 100
APART_SECONDS = 10.0  # of one request: what its trials in processes of their own may take of a processor
REMEMBERED = 1024  # trials whose outcome is kept
SMALL = 16 * 1024  # bytes of grammars that are remembered


class Trials:
    """The trials of one request: so many and no more. What is left untried is taken to be possible, but for what has to
    be tried in a process of its own (`shared.grammar_apart`): that takes from `apart_seconds`, and is refused without
    any."""

    def __init__(self, most: int = TRIALS, apart_seconds: float = APART_SECONDS) -> None:
        self._left = most
        self.apart_seconds = apart_seconds

    def problem(self, grammar: str) -> str | None:
        """Why no text by the grammar can be written; None where none was found."""
        if self._left <= 0:
            return None
        self._left -= 1
        return _remembered(grammar) if len(grammar) <= SMALL else _problem(grammar)


@lru_cache(maxsize=REMEMBERED)
def _remembered(grammar: str) -> str | None:
    return _problem(grammar)


def _problem(grammar: str) -> str | None:
    matcher = LLMatcher(_bytes(), grammar, log_level=0, limits=LIMITS)
    for turn in range(3):
        walk = matcher.deep_copy()
        if (problem := _walked(walk, turn)) is not None:
            return problem
    return None


def _walked(matcher: LLMatcher, turn: int) -> str | None:
    """Writes a text, always another one for another turn."""
    left = FORCED_BYTES
    for step in range(STEPS):
        if matcher.is_error():
            return _said(matcher.get_error())
        if matcher.is_stopped():
            return None
        if forced := matcher.compute_ff_tokens():
            matcher.consume_tokens(forced[:left])
            left -= len(forced)
            if left <= 0:
                break
            continue
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            continue
        allowed = [byte for byte in range(256) if mask[byte // 8] >> byte % 8 & 1]
        if not allowed:
            return None if step else "it allows no text at all"
        likely = [byte for byte in allowed if 0x20 < byte < 0x7F] or allowed
        matcher.consume_token(likely[(step + turn * len(likely) // 3) % len(likely)])
    return _said(matcher.get_error()) if matcher.is_error() else None


def _said(error: str) -> str:
    if "NoExtension" in error:
        return "it comes to a place from which no text leads to an end"
    return f"it is too large to be followed ({error.split(chr(10))[0].split(';')[0][:120]})"


@cache
def _bytes() -> LLTokenizer:
    return LLTokenizer("byte")
