"""MiniMax-M2: `<invoke>` with `<parameter>`, thinking always on.

Source: the chat template and the tool calling guide of MiniMaxAI/MiniMax-M2.
"""

from __future__ import annotations

from typing import Any

from workers.dialects.calls import XmlParameters
from workers.dialects.marked import MarkedDialect

CALLS = XmlParameters(
    begin="<minimax:tool_call>",
    call='<invoke name="',
    name_end='">',
    key='<parameter name="',
    key_end='">',
    value="",
    value_end="</parameter>",
    call_end="</invoke>",
    end="</minimax:tool_call>",
    repeated=False,
)


def _variables(effort: str | None) -> dict[str, Any]:
    return {}


MINIMAX = MarkedDialect(name="minimax", calls=CALLS, variables=_variables, stop_texts=("[e~[",))


def detect(template: str) -> MarkedDialect | None:
    return MINIMAX if "<minimax:tool_call>" in template else None
