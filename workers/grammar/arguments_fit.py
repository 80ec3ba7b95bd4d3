"""Whether a call's arguments, written as JSON, are what a grammar would have let through."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache

from llguidance import LLMatcher, LLTokenizer

from shared.trial import LIMITS
from workers.dialects.toolbox import OfferedTool
from workers.grammar.builder import GrammarBuilder, GrammarError
from workers.grammar.vocabulary import Vocabulary

COMPILED = 64


def fit(tool: OfferedTool, arguments: str) -> bool:
    """Compiles the tool's grammar, which may take some 100 ms, unless it was made ready."""
    try:
        matcher = _compiled(_grammar(tool)).deep_copy()
    except GrammarError:
        return False
    written = list(arguments.encode(errors="replace"))
    return bool(matcher.consume_tokens(written)) and matcher.is_accepting()


def make_ready(tools: Iterable[OfferedTool]) -> None:
    """So that `fit` need not compile: for off the event loop. Raises GrammarError."""
    for tool in tools:
        _compiled(_grammar(tool))


def _grammar(tool: OfferedTool) -> str:
    builder = GrammarBuilder(_bytes())
    return builder.finish(builder.arguments(tool))


@lru_cache(maxsize=COMPILED)
def _compiled(grammar: str) -> LLMatcher:
    matcher = LLMatcher(_bytes().tokenizer, grammar, log_level=0, limits=LIMITS)
    if matcher.is_error():
        raise GrammarError(matcher.get_error().split("\n")[0])
    return matcher


@cache
def _bytes() -> Vocabulary:
    return Vocabulary(LLTokenizer("byte"))
