"""Whether a text by a grammar can be written at all: tried on a vocabulary of bytes, a few steps far.

llguidance takes a grammar without looking far into it. What has no way on, or costs more than its limits allow, shows
when a text is written; here it shows before there is a response. It holds the interpreter meanwhile, for half a second
at a small schema: what comes from outside is tried in a process of its own (`shared.grammar_apart`).
"""

from __future__ import annotations

from functools import cache

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


def validated(grammar: str) -> str | None:
    """Why llguidance does not take a grammar; None where it does."""
    refused, messages = LLMatcher.validate_grammar_with_warnings(grammar, limits=LIMITS)
    return str(messages[0]) if refused else None


def tried(grammar: str) -> str | None:
    """Why no text by a grammar can be written; None where nothing was found."""
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
