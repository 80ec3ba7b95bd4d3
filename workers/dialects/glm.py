"""GLM 4.5, 4.6 and 4.7: `<arg_key>` and `<arg_value>`, strings bare.

Source: the chat templates (zai-org/GLM-4.6, GLM-4.7-Flash); 4.7 writes no line breaks between the markers.
"""

from __future__ import annotations

from dataclasses import replace

from workers.dialects.calls import XmlParameters
from workers.dialects.marked import MarkedDialect

CALLS = XmlParameters(
    begin="<tool_call>",
    call="",
    name_end="",
    key="<arg_key>",
    key_end="</arg_key>",
    value="<arg_value>",
    value_end="</arg_value>",
    call_end="",
    end="</tool_call>",
    repeated=True,
)

GLM = MarkedDialect(name="glm", calls=CALLS, reasoning_end="</think>\n")


def detect(template: str) -> MarkedDialect | None:
    if "<arg_key>" not in template or "<arg_value>" not in template:
        return None
    if "<tool_call>{function-name}<arg_key>" in template:
        return replace(GLM, name="glm-4.7", calls=replace(CALLS, line=""), reasoning_end="</think>")
    return GLM
