"""Seed-OSS: calls with XML parameters, `<seed:think>`, a thinking budget that the template tells the model.

Source: the chat template and model card (ByteDance-Seed/Seed-OSS-36B-Instruct): budgets are multiples of 512, 0 answers
at once, -1 is unlimited.
"""

from __future__ import annotations

from typing import Any

from workers.dialects.calls import XmlParameters
from workers.dialects.marked import MarkedDialect

CALLS = XmlParameters(
    begin="<seed:tool_call>",
    call="<function=",
    name_end=">",
    key="<parameter=",
    key_end=">",
    value="",
    value_end="</parameter>",
    call_end="</function>",
    end="</seed:tool_call>",
    repeated=True,
)

BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 4096, "high": 16384, "xhigh": -1}


def _variables(effort: str | None) -> dict[str, Any]:
    return {"thinking_budget": -1 if effort is None else BUDGETS.get(effort, -1)}


SEED_OSS = MarkedDialect(
    name="seed-oss",
    calls=CALLS,
    think=("<seed:think>", "</seed:think>"),
    reasoning_end="</seed:think>\n",
    variables=_variables,
)


def detect(template: str) -> MarkedDialect | None:
    return SEED_OSS if "<seed:tool_call>" in template else None
