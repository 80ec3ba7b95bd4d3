"""What a response asks of its output: the tools that may be called, the format of the answer, the time to think."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from shared.redis.records import Generation
from shared.schema.items import Item, McpCall, OutputItem
from shared.schema.request import JsonObjectFormat, JsonSchemaFormat
from shared.schema.response import Response
from shared.schema.tools import AllowedTools, ToolChoice
from shared.settings import Settings
from workers.dialects.base import Opening
from workers.dialects.toolbox import Toolbox
from workers.grammar.constraint import OutputConstraint
from workers.grammar.grammars import Demand, demand
from workers.models import LoadedModel
from workers.prompt import Prompt


async def demand_of(
    response: Response, said: Sequence[Item | OutputItem], tools: Toolbox, settings: Settings
) -> Demand:
    """The request's tools, `tool_choice`, `parallel_tool_calls`, `max_tool_calls` and `text.format` in one.

    `said` is what the response has put out before this generation. What the choice demands is done when that has a
    call; the calls in it count towards `max_tool_calls`.
    """
    made = sum(isinstance(item, McpCall) for item in said)
    limits = [response.max_tool_calls, settings.mcp_max_calls if any(tool.server for tool in tools) else None]
    left = min((limit - made for limit in limits if limit is not None), default=None)
    schema, strict = _schema(response)
    asked = partial(
        demand,
        tools,
        _choice(response.tool_choice, made, left),
        parallel=response.parallel_tool_calls,
        max_calls=left,
        format=schema,
        strict=strict,
    )
    return await asyncio.to_thread(asked) if tools.loose or not strict else asked()


def _choice(choice: ToolChoice, made: int, left: int | None) -> ToolChoice:
    """How the model may choose a tool, with so many calls made and `left` before the limit."""
    if left is not None and left <= 0:
        return "none"
    if choice == "none" or not made:
        return choice
    return AllowedTools(mode="auto", tools=choice.tools) if isinstance(choice, AllowedTools) else "auto"


async def constraint_for(
    model: LoadedModel,
    asked: Demand,
    generation: Generation,
    settings: Settings,
    prompt: Prompt,
    done: Sequence[int],
) -> OutputConstraint | None:
    """What the output is held to, with the tokens that a lost worker had generated behind it; None where it is free.

    Raises GrammarError.
    """
    opening, may_reason = model.prompter.dialect.opening(prompt.text), generation.effort != "none"
    thinking = None
    if model.prompter.needs_budget and opening is not Opening.ANSWER:
        thinking = thinking_tokens(generation.effort, settings)
    if not asked.needs_grammar and thinking is None and (may_reason or opening is not Opening.MAY_REASON):
        return None
    constraint = await asyncio.to_thread(
        model.grammars.constraint,
        model.prompter.dialect,
        asked,
        prompt.text,
        may_reason=may_reason,
        thinking_tokens=thinking,
    )
    if constraint is not None:
        for token in done:
            constraint.accept(token)
    return constraint


def thinking_tokens(effort: str | None, settings: Settings) -> int | None:
    """How many tokens a model may think whose template does not know efforts; None: as many as it likes."""
    budgets = {
        "none": 0,
        "minimal": settings.thinking_tokens_minimal,
        "low": settings.thinking_tokens_low,
        "medium": settings.thinking_tokens_medium,
        "high": settings.thinking_tokens_high,
    }
    return budgets.get(effort) if effort else None


def _schema(response: Response) -> tuple[dict[str, Any] | None, bool]:
    """The format's JSON schema, and whether it is to be kept to the letter."""
    chosen = response.text.format
    if isinstance(chosen, JsonSchemaFormat):
        return chosen.schema, chosen.strict is not False
    return {} if isinstance(chosen, JsonObjectFormat) else None, True
