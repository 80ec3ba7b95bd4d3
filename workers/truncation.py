"""`truncation: "auto"`: drops whole items from the beginning of a conversation until the rest fits.

System and developer messages stay, and so does the last user message: what was called behind it goes first, from the
oldest on. A tool's output never stays without its call, nor reasoning without what it led to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from shared.schema.items import (
    CustomToolCallOutput,
    FunctionCallOutput,
    Item,
    Message,
    OutputItem,
    Reasoning,
)

AnyItem = Item | OutputItem


async def truncate(items: Sequence[AnyItem], fits: Callable[[Sequence[AnyItem]], Awaitable[bool]]) -> list[AnyItem]:
    """The longest rest of a conversation that fits; the shortest possible one when nothing does."""
    question = _question(items)
    candidates = [0, *(cut for cut in range(1, len(items)) if _may_begin_at(items, cut))]
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if await fits(_rest(items, candidates[middle], question)):
            high = middle
        else:
            low = middle + 1
    return _rest(items, candidates[low], question)


def _question(items: Sequence[AnyItem]) -> int:
    """The position of the last user message; -1 where there is none."""
    questions = (n for n, item in enumerate(items) if isinstance(item, Message) and item.role == "user")
    return max(questions, default=-1)


def _rest(items: Sequence[AnyItem], cut: int, question: int) -> list[AnyItem]:
    return [item for position, item in enumerate(items) if position >= cut or position == question or _is_rule(item)]


def _is_rule(item: AnyItem) -> bool:
    return isinstance(item, Message) and item.role in ("system", "developer")


def _may_begin_at(items: Sequence[AnyItem], cut: int) -> bool:
    """Whether what is left has every call of its outputs, and does not begin with what followed a dropped reasoning."""
    if _is_rule(items[cut]) or isinstance(items[cut - 1], Reasoning):
        return False
    calls = {getattr(item, "call_id", None) for item in items[:cut]}
    outputs = (item for item in items[cut:] if isinstance(item, FunctionCallOutput | CustomToolCallOutput))
    return all(output.call_id not in calls for output in outputs)
