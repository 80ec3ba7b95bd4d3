"""Command R7B: thinking, action and response between control tokens.

Source: the chat template and https://docs.cohere.com/docs/command-r7b-hf .
"""

from __future__ import annotations

from workers.dialects.calls import JsonList
from workers.dialects.marked import MarkedDialect, thinking_switch

COMMAND_R = MarkedDialect(
    name="command-r",
    calls=JsonList(
        "<|START_ACTION|>",
        "<|END_ACTION|>",
        name_key="tool_name",
        arguments_key="parameters",
        id_key="tool_call_id",
        id_first=True,
        space="\\n {0,4}",
    ),
    think=("<|START_THINKING|>", "<|END_THINKING|>"),
    reasoning_end="<|END_THINKING|>",
    variables=thinking_switch("enable_thinking"),
    wrap=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)


def detect(template: str) -> MarkedDialect | None:
    return COMMAND_R if "<|START_ACTION|>" in template else None
