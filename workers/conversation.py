"""What the model is to read: the items of a whole chain, compacted or truncated where that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared.redis.records import Turn
from shared.schema.content import InputText
from shared.schema.items import (
    Compaction,
    CustomToolCall,
    FunctionCall,
    Item,
    McpCall,
    McpListTools,
    Message,
    OutputItem,
)
from shared.schema.mcp import McpListToolsTool
from shared.sealing import COMPACTION, Sealer
from shared.summary import SUMMARY_INTRODUCTION, SUMMARY_REQUEST
from shared.turns import split_before_last_question
from workers.dialects.toolbox import Toolbox
from workers.prompt import Prompt, Prompter
from workers.truncation import truncate

AnyItem = Item | OutputItem

LEAST_ANSWER_TOKENS = 1024


def conversation(ancestors: Iterable[Turn], new: Sequence[Item], sealer: Sealer | None, owner: str) -> list[AnyItem]:
    """Every item in order: each turn's input and output, then the new input. What a compaction covers is left out."""
    items: list[AnyItem] = []
    for turn in ancestors:
        items = _with_turn(items, turn)
    items += new
    return [_readable(item, sealer, owner) for item in _after_last_compaction(items) if not _is_cut_call(item)]


def listed_tools(items: Iterable[AnyItem]) -> dict[str, list[McpListToolsTool]]:
    """The tools of each remote server whose list is among the items, by its label; the last list counts."""
    return {item.server_label: item.tools for item in items if isinstance(item, McpListTools) and item.error is None}


async def write(
    prompter: Prompter,
    instructions: str | None,
    items: Sequence[AnyItem],
    effort: str | None,
    tools: Toolbox | None = None,
    *,
    room: int | None = None,
) -> Prompt:
    """The prompt; with `room`, the one for the longest rest of the conversation that has at most so many tokens.

    Raises TemplateError where the model's template refuses the conversation.
    """

    async def fits(rest: Sequence[AnyItem]) -> bool:
        return room is None or len((await prompter.write(instructions, rest, effort, tools)).tokens) <= room

    whole = await prompter.write(instructions, items, effort, tools)
    if room is None or len(whole.tokens) <= room:
        return whole
    return await prompter.write(instructions, await truncate(items, fits), effort, tools)


def room_for_prompt(context_length: int, max_output_tokens: int | None) -> int:
    """Tokens a truncated prompt may have: an answer needs room too, a quarter of the context at most."""
    answer = min(max_output_tokens or LEAST_ANSWER_TOKENS, context_length // 4)
    return context_length - max(answer, 1)


def request_for_summary() -> Message:
    """The question that makes the model summarise what came before it."""
    return Message(id="msg_summary", role="user", content=[InputText(text=SUMMARY_REQUEST)])


def summary_message(summary: str) -> Message:
    """A summary as the model reads it."""
    return Message(id="msg_summary", role="system", content=[InputText(text=SUMMARY_INTRODUCTION + summary)])


def _with_turn(earlier: Sequence[AnyItem], turn: Turn) -> list[AnyItem]:
    """What one response read, then what it put out. A compaction made on the way covers what came before the last
    question, which may be an earlier turn's, so it stands before that."""
    read = [*earlier, *turn.input]
    compactions = [item for item in turn.output if isinstance(item, Compaction)]
    if not compactions:
        return [*read, *turn.output]
    _, question = split_before_last_question(_after_last_compaction(read))
    rest = [item for item in turn.output if not isinstance(item, Compaction)]
    return [compactions[-1], *question, *rest]


def _after_last_compaction(items: Sequence[AnyItem]) -> Sequence[AnyItem]:
    positions = [n for n, item in enumerate(items) if isinstance(item, Compaction)]
    return items[positions[-1] :] if positions else items


def _is_cut_call(item: AnyItem) -> bool:
    """A call that was cut short: nobody answers it, and no template could show it."""
    if isinstance(item, McpCall):
        return item.status not in ("completed", "failed")
    return isinstance(item, FunctionCall | CustomToolCall) and item.status == "incomplete"


def _readable(item: AnyItem, sealer: Sealer | None, owner: str) -> AnyItem:
    if not isinstance(item, Compaction):
        return item
    if sealer is None:
        raise ValueError("a compaction needs ENCRYPTION_KEY to be read")
    return summary_message(sealer.open(item.encrypted_content, owner=owner, purpose=COMPACTION))
