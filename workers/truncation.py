"""`truncation: "auto"`: drops whole items from the beginning of a conversation until the rest fits.

System and developer messages stay. A tool's output never stays without its call, nor reasoning without what it led to.
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
    candidates = [0, *(cut for cut in range(1, len(items)) if _may_begin_at(items, cut))]
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if await fits(_rest(items, candidates[middle])):
            high = middle
        else:
            low = middle + 1
    return _rest(items, candidates[low])


def _rest(items: Sequence[AnyItem], cut: int) -> list[AnyItem]:
    return [item for position, item in enumerate(items) if position >= cut or _is_rule(item)]


def _is_rule(item: AnyItem) -> bool:
    return isinstance(item, Message) and item.role in ("system", "developer")


def _may_begin_at(items: Sequence[AnyItem], cut: int) -> bool:
    """Whether what is left has every call of its outputs, and does not begin with what followed a dropped reasoning."""
    if _is_rule(items[cut]) or isinstance(items[cut - 1], Reasoning):
        return False
    calls = {getattr(item, "call_id", None) for item in items[:cut]}
    outputs = (item for item in items[cut:] if isinstance(item, FunctionCallOutput | CustomToolCallOutput))
    return all(output.call_id not in calls for output in outputs)
