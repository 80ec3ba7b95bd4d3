"""Compiles what a request asks of the output, once for all requests that ask the same."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from llguidance import LLMatcher

from shared.grammar import loosened
from shared.schema.tools import AllowedTools, CustomChoice, FunctionChoice, McpChoice, ToolChoice
from shared.trial import LIMITS
from shared.trials import Trials
from workers.dialects.base import Dialect, Opening
from workers.dialects.toolbox import OfferedTool, Toolbox
from workers.grammar.builder import GrammarBuilder, GrammarError
from workers.grammar.constraint import OutputConstraint, ThinkingBudget, Tokens
from workers.grammar.vocabulary import Vocabulary

CACHED = 64


@dataclass(frozen=True)
class Demand:
    """What a request asks of the output."""

    tools: Toolbox  # those that may be called; empty where `tool_choice` is none
    must_call: bool = False
    parallel: bool = True
    max_calls: int | None = None
    format: Mapping[str, Any] | None = None  # JSON schema of the answer

    @property
    def needs_grammar(self) -> bool:
        return bool(self.tools) or self.format is not None


def demand(
    tools: Toolbox,
    choice: ToolChoice = "auto",
    *,
    parallel: bool = True,
    max_calls: int | None = None,
    format: Mapping[str, Any] | None = None,
    strict: bool = True,
    trials: Trials | None = None,
) -> Demand:
    """What `tools`, `tool_choice` and `text.format` add up to. `format`: a JSON schema; `{}` is any JSON object.

    What is not `strict`, the format or a tool, is kept as far as possible. To find out how far may take some time: what
    `trials` have. Raises OutOfTime as they do.
    """
    if format is not None:
        format = (format if strict else loosened(format, trials)) or {"type": "object"}
    tools = tools.holdable(trials) if tools.loose else tools
    if choice == "none":
        return Demand(Toolbox(), format=format)
    must_call, tools = demands_call(choice), eligible(tools, choice)
    return Demand(tools, must_call and bool(tools), parallel, max_calls, None if must_call and tools else format)


def demands_call(choice: ToolChoice) -> bool:
    """Whether the model has to call a tool."""
    if isinstance(choice, AllowedTools):
        return choice.mode == "required"
    return choice not in ("auto", "none")


def eligible(tools: Toolbox, choice: ToolChoice) -> Toolbox:
    """The tools that a choice leaves; all where it names none."""
    if isinstance(choice, FunctionChoice | CustomChoice | McpChoice):
        return tools.only(_chosen(tools, msgspec.to_builtins(choice)))
    if isinstance(choice, AllowedTools):
        return tools.only([tool for one in choice.tools for tool in _chosen(tools, one)])
    return tools


def _chosen(tools: Toolbox, choice: Mapping[str, Any]) -> list[OfferedTool]:
    """The tools of its type that a choice names, by the client's name or the flat one; or a server's, or all of a
    server's."""
    label, name, custom = choice.get("server_label"), choice.get("name"), choice.get("type") == "custom"
    if choice.get("type") == "mcp":
        return [tool for tool in tools if tool.server == label and name in (None, tool.tool.name)]
    own = (tool for tool in tools if tool.server is None and tool.custom == custom)
    return [tool for tool in own if name in (tool.name, tool.tool.name)]


class Grammars:
    """Compiled grammars of one model. May be used from any thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def grammar(self, dialect: Dialect, demand: Demand, opening: Opening, *, may_reason: bool = True) -> str:
        """The text of a grammar. Raises GrammarError."""
        builder = GrammarBuilder(
            self.vocabulary,
            opening=opening,
            may_reason=may_reason,
            tools=demand.tools,
            must_call=demand.must_call,
            parallel=demand.parallel,
            max_calls=demand.max_calls,
            format=demand.format,
        )
        return builder.finish(dialect.grammar(builder))

    def matcher(self, grammar: str) -> LLMatcher:
        """A fresh matcher. Compiling may take some 100 ms: call it off the event loop. Raises GrammarError."""
        with self._lock:
            if (known := self._compiled.get(grammar)) is not None:
                self._compiled.move_to_end(grammar)
        if known is None:
            known = LLMatcher(self.vocabulary.tokenizer, grammar, log_level=0, limits=LIMITS)
            if known.is_error():
                raise GrammarError(known.get_error().split("\n")[0])
            with self._lock:
                self._compiled[grammar] = known
                while len(self._compiled) > CACHED:
                    self._compiled.popitem(last=False)
        return known.deep_copy()

    def constraint(
        self,
        dialect: Dialect,
        demand: Demand,
        prompt: str,
        *,
        may_reason: bool = True,
        thinking_tokens: int | None = None,
    ) -> OutputConstraint | None:
        """What the output behind `prompt` is held to; None where it is free. Raises GrammarError.

        `may_reason`: False where the request wants no reasoning; `thinking_tokens`: how much of it at most.
        """
        matcher = None
        opening = dialect.opening(prompt)
        if demand.needs_grammar or (not may_reason and opening is Opening.MAY_REASON):
            matcher = self.matcher(self.grammar(dialect, demand, opening, may_reason=may_reason))
        budget = None
        if thinking_tokens is not None:
            tokens = Tokens(self._piece, self.vocabulary.tokenize)
            closing = (dialect.early_words if thinking_tokens else "") + dialect.reasoning_end
            budget = ThinkingBudget(dialect.parser(prompt), tokens, thinking_tokens, closing)
        return OutputConstraint(matcher, budget) if matcher or budget else None

    def _piece(self, token: int) -> bytes:
        return self.vocabulary.tokenizer.decode_bytes([token])
