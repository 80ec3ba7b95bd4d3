"""Families whose templates know no tools, and templates of no known family: calls as the prompt asks for them.

Gemma 2 and 3, Phi 3.5 and 4 have no reasoning and no form for calls. SmolLM3 was trained on `<tool_call>` with JSON and
`<think>` (model card of HuggingFaceTB/SmolLM3-3B). For the rest, what the template itself says decides.
"""

from __future__ import annotations

from dataclasses import replace

from workers.dialects.calls import TaggedJson
from workers.dialects.marked import MarkedDialect, ending, thinking_switch

SMOLLM3 = MarkedDialect(name="smollm3", calls=TaggedJson(), variables=thinking_switch("enable_thinking"))
GEMMA = MarkedDialect(name="gemma", calls=TaggedJson(), reasons=False)
PHI = MarkedDialect(name="phi", calls=TaggedJson(), reasons=False)
GENERIC = MarkedDialect(name="generic", calls=TaggedJson())


def detect(template: str) -> MarkedDialect | None:
    if "<start_of_turn>" in template:
        return GEMMA
    if "SmolLM" in template:
        return ending(SMOLLM3, template)
    if "<|assistant|>" in template and "<|end|>" in template and "<think>" not in template:
        return PHI
    return None


def generic(template: str) -> MarkedDialect:
    return replace(ending(GENERIC, template), reasons="<think>" in template or "</think>" in template)
