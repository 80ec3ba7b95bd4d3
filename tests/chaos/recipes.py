"""What is asked under fire: greedy requests whose undisturbed answer is known, of every kind of output."""

from __future__ import annotations

from typing import Any

from tests.chaos.cluster import MODEL, SCRIPTED
from tests.chaos.tools import new_key, tool, with_key

Body = dict[str, Any]

WEATHER: Body = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
        "additionalProperties": False,
    },
    "strict": True,
}
PERSON: Body = {
    "type": "json_schema",
    "name": "person",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "job": {"enum": ["cook", "pilot"]},
        },
        "required": ["name", "age", "job"],
        "additionalProperties": False,
    },
}


def _ask(model: str, question: str, effort: str | None = None, **more: Any) -> Body:
    return {"model": model, "input": question, "temperature": 0, "reasoning": {"effort": effort}, **more}


TEXT = {f"text-{top}": _ask(MODEL, f"Count from 1 to {top}", "none") for top in (20, 40, 60)}
REASONING = {
    "reasoning-prime": _ask(MODEL, "Provide a prime number less than 50", "high"),
    "reasoning-sum": _ask(MODEL, "What's 12 plus 30?", "medium"),
}
TOOLS = {
    f"tool-{effort}": _ask(MODEL, "What's the weather like in San Francisco?", effort, tools=[WEATHER])
    for effort in ("none", "medium")
}
SCHEMA = {
    f"schema-{effort}": _ask(
        MODEL, "Give me a JSON object with name Bob, age 42, job pilot.", effort, text={"format": PERSON}
    )
    for effort in ("none", "medium")
}
SCRIPTED_TEXT = {f"scripted-{count}": _ask(SCRIPTED, f"Say {count} words") for count in (10, 30)}

ALL: dict[str, Body] = {**TEXT, **REASONING, **TOOLS, **SCHEMA, **SCRIPTED_TEXT}


def remote(url: str) -> dict[str, Body]:
    """An MCP loop: a read-only call alone, and one with a call that may not be made twice, then another of those."""
    return {
        f"remote-{which}": _ask(SCRIPTED, f"Use {what} with {new_key()}", tools=[tool(url)])
        for which, what in (("one", "one tool"), ("both", "both tools"))
    }


def afresh(body: Body) -> Body:
    """The same request, with a key of its own where it has one."""
    return {**body, "input": with_key(body["input"], new_key())}


TURNS = ["My name is Bob.", "I live in Rome.", "What is my name?"]
"""A conversation, for chains and conversations: each turn greedy and without reasoning."""


def turn(number: int, **more: Any) -> Body:
    """The request of one turn."""
    return _ask(MODEL, TURNS[number], "none", **more)
