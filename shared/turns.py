"""The items of one turn in the order a model reads them."""

from __future__ import annotations

from collections.abc import Sequence

from shared.schema.items import Compaction, Item, Message, OutputItem


def split_before_last_question(
    items: Sequence[Item | OutputItem],
) -> tuple[Sequence[Item | OutputItem], Sequence[Item | OutputItem]]:
    """What may be summarised, and what has to stay: the last user message and all that follows it."""
    questions = [n for n, item in enumerate(items) if isinstance(item, Message) and item.role == "user"]
    cut = questions[-1] if questions else 0
    return items[:cut], items[cut:]


def in_order(taken: Sequence[Item], given: Sequence[OutputItem]) -> list[Item]:
    """What a response took in, then what it put out; a compaction stands before the question that it does not cover.
    It is left out where that question is not among `taken`: it has no place here."""
    compactions = [item for item in given if isinstance(item, Compaction)]
    if not compactions:
        return [*taken, *given]
    earlier, question = split_before_last_question(taken)
    if not any(isinstance(item, Message) and item.role == "user" for item in question):
        compactions = []
    rest = [item for item in given if not isinstance(item, Compaction)]
    return [*earlier, *compactions, *question, *rest]
