"""Granite 3.x: `<|tool_call|>` and a JSON list; thinking as `<think>` and `<response>`. (Granite 4 is Hermes-like.)

Source: the chat template and model card of ibm-granite/granite-3.3-8b-instruct. The template shows no calls.
"""

from __future__ import annotations

from workers.dialects.calls import JsonList
from workers.dialects.marked import MarkedDialect, thinking_switch

GRANITE = MarkedDialect(
    name="granite-3",
    calls=JsonList("<|tool_call|>"),
    variables=thinking_switch("thinking", default=False),
    reasoning_end="</think>\n\n<response>",
    wrap=("<response>", "</response>"),
)


def detect(template: str) -> MarkedDialect | None:
    return GRANITE if "<|start_of_role|>" in template and "<|tool_call|>" in template else None
