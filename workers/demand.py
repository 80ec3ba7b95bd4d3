"""What a response asks of its output: the tools that may be called, the format of the answer, the time to think."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from shared.lanes import looked_into
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


def tools_left(
    response: Response, said: Sequence[Item | OutputItem], tools: Toolbox, settings: Settings
) -> tuple[Toolbox, int | None]:
    """The tools that may be called behind what the response has `said`, and how many calls may come now; None: any
    number. Its limit reached, remote tools are taken away. A client's own are not counted with them (at OpenAI they are
    not counted at all): their calls end the response, so that those are all of one generation.
    """
    if not any(tool.server for tool in tools):
        return tools, response.max_tool_calls
    left = settings.most_calls(response.max_tool_calls) - sum(isinstance(item, McpCall) for item in said)
    if left > 0:
        return tools, left
    return tools.only(tool for tool in tools if tool.server is None), response.max_tool_calls


async def demand_of(
    response: Response, said: Sequence[Item | OutputItem], tools: Toolbox, most_calls: int | None = None
) -> Demand:
    """The request's tools, `tool_choice`, `parallel_tool_calls`, `max_tool_calls` and `text.format` in one.

    `said` is what the response has put out before this generation. What the choice demands is done when the model has
    made a call in it; one that was approved is a call of an earlier response.
    """
    called = any(isinstance(item, McpCall) and item.approval_request_id is None for item in said)
    schema, strict = _schema(response)
    asked = partial(
        demand,
        tools,
        _choice(response.tool_choice) if called else response.tool_choice,
        parallel=response.parallel_tool_calls,
        max_calls=most_calls,
        format=schema,
        strict=strict,
    )
    return await looked_into(lambda trials: asked(trials=trials)) if tools.loose or not strict else asked()


def _choice(choice: ToolChoice) -> ToolChoice:
    """How the model may choose a tool when it has called one."""
    if choice == "none":
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
