"""`reasoning.summary`: what the model's reasoning came to, in its own words."""

from __future__ import annotations

import re

SUMMARY_SENTENCES = {"concise": 1, "auto": 2, "detailed": 4}
LONGEST = 300  # characters of one sentence
_SENTENCE = re.compile(r"[^\n.!?]*[^\s.!?][^\n.!?]*[.!?]*")


def summarise(reasoning: str, sentences: int) -> str:
    """The first sentence, which says what is asked, and the last ones, which say what was found."""
    found = [match.group().strip() for match in _SENTENCE.finditer(reasoning)]
    chosen = (
        found if len(found) <= sentences else [*found[: sentences // 2], *found[len(found) - (sentences + 1) // 2 :]]
    )
    return " ".join(sentence[:LONGEST] for sentence in chosen)
