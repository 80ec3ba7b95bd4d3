"""Qwen3-Coder, Qwen3.5, Nemotron 3 and Step 3.5: calls with XML parameters.

Sources: the models' chat templates; llama.cpp `common/chat.cpp`, which also lets `<tool_call>` end the thinking.
"""

from __future__ import annotations

from workers.dialects.calls import XmlParameters
from workers.dialects.marked import MarkedDialect, reasoning_if

CALLS = XmlParameters(
    begin="<tool_call>",
    call="<function=",
    name_end=">",
    key="<parameter=",
    key_end=">",
    value="",
    value_end="</parameter>",
    call_end="</function>",
    end="</tool_call>",
    repeated=True,
    pad="\n",
)

QWEN_XML = MarkedDialect(name="qwen-xml", calls=CALLS, calls_end_reasoning=True)


def detect(template: str) -> MarkedDialect | None:
    if not all(mark in template for mark in ("<tool_call>", "<function=", "<parameter=")):
        return None
    return reasoning_if(QWEN_XML, template)
