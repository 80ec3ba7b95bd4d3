"""Qwen 2.5, QwQ, Qwen3, Hermes 2 and 3, Granite 4: `<tool_call>` with one JSON object, `<think>`.

Sources: https://github.com/NousResearch/Hermes-Function-Calling , the models' chat templates, the Qwen3 model card. The
card also says how to end thinking early: with a sentence of its own (Qwen3 technical report, 4.3).
"""

from __future__ import annotations

from workers.dialects.calls import TaggedJson
from workers.dialects.marked import MarkedDialect, reasoning_if

EARLY_WORDS = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
)

HERMES = MarkedDialect(name="hermes", calls=TaggedJson(), early_words=EARLY_WORDS)


def detect(template: str) -> MarkedDialect | None:
    if "<tool_call>" not in template or "<function=" in template or "<arg_key>" in template:
        return None
    return reasoning_if(HERMES, template)
