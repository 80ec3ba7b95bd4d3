"""Tools, structured output and reasoning through the whole system with a real engine: what is promised for any model.

The demo model knows what to do; with random weights nothing but the grammar holds the output.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from redis.asyncio import Redis

from shared.redis import event_log
from shared.settings import REPOSITORY_MODELS
from tests.conftest import StackFactory
from tests.stack import Stack
from tests.wire import text_of
from tests.workers.dialects.samples import TEMPLATES
from workers.dialects import detect
from workers.engine.core import Engine
from workers.engine.engine import load_engine
from workers.engine.scripted import Script, ScriptedEngine

SPARK = REPOSITORY_MODELS / "llamarelay/spark/spark-Q8_0.gguf"
CITY = {
    "type": "object",
    "properties": {"location": {"type": "string", "maxLength": 30}},
    "required": ["location"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "name": "get_weather", "description": "Get the current weather", "parameters": CITY}
TIME = {"type": "function", "name": "get_time", "description": "Get the current time", "parameters": CITY}
BOTH = "What's the weather in Paris and in Rome?"
PERSON = {
    "type": "object",
    "properties": {
        "the_full_name_of_the_person": {"type": "string", "maxLength": 12},
        "their_age_in_years_at_the_moment": {"type": "integer", "minimum": 0, "maximum": 150},
        "what_they_work_as": {"enum": ["an airline pilot", "a cook in a restaurant"]},
    },
    "required": ["the_full_name_of_the_person", "their_age_in_years_at_the_moment", "what_they_work_as"],
    "additionalProperties": False,
}


def loader(template: str | None = None) -> Callable[..., Engine]:
    """Loads the demo model, with another chat template if one is given."""

    def load(_: Path, *arguments: Any) -> Engine:
        engine = load_engine(SPARK, *arguments[:2])
        if template is not None:
            engine._info = replace(engine.model, chat_template=template)
        return engine

    return load


@pytest.fixture
async def spark(make_stack: StackFactory) -> Stack:
    return await make_stack(loader=loader())


def json_format(schema: Any) -> dict[str, Any]:
    return {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}


async def ask(stack: Stack, question: str = BOTH, **fields: Any) -> Any:
    status, response = await stack.post(
        **{"input": question, "temperature": 0, "reasoning": {"effort": "none"}, **fields}
    )
    assert status == 200, response
    return response


def called(response: Any) -> list[str]:
    return [item["name"] for item in response["output"] if item["type"].endswith("_call")]


async def test_the_number_of_calls_is_the_request_s(spark: Stack) -> None:
    assert called(await ask(spark, tools=[WEATHER])) == ["get_weather"] * 2
    assert called(await ask(spark, tools=[WEATHER], parallel_tool_calls=False)) == ["get_weather"]
    assert called(await ask(spark, tools=[WEATHER], max_tool_calls=1)) == ["get_weather"]


async def test_only_what_is_allowed_is_called(spark: Stack) -> None:
    for mode in ("auto", "required"):
        choice = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "get_time"}]}
        response = await ask(spark, "What's the weather in Paris?", tools=[WEATHER, TIME], tool_choice=choice)
        assert set(called(response)) <= {"get_time"}
        assert mode == "auto" or called(response)
    assert not called(await ask(spark, tools=[WEATHER], tool_choice="none"))


async def test_a_custom_tool_s_lark_grammar_is_followed(spark: Stack) -> None:
    definition = 'start: NUM " + " NUM "\\n"\nNUM: /[0-9]{1,3}/'
    form = {"type": "grammar", "syntax": "lark", "definition": definition}
    tool = {"type": "custom", "name": "sum", "format": form}
    response = await ask(spark, "Add 1 and 2.", tools=[tool], tool_choice={"type": "custom", "name": "sum"},
                         parallel_tool_calls=False)  # fmt: skip
    [call] = response["output"]
    assert re.fullmatch(r"[0-9]{1,3} \+ [0-9]{1,3}\n", call["input"])


async def test_json_that_is_cut_anywhere_is_never_called_completed(spark: Stack) -> None:
    limits = range(1, 80)
    asked = [ask(spark, "Tell me of Bob.", text=json_format(PERSON), max_output_tokens=limit) for limit in limits]
    statuses = set()
    for limit, response in zip(limits, await asyncio.gather(*asked), strict=True):
        statuses.add(response["status"])
        assert response["usage"]["output_tokens"] <= limit
        if response["status"] == "completed":
            jsonschema.validate(json.loads(text_of(response)), PERSON)
        else:
            assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert statuses == {"completed", "incomplete"}


async def test_what_the_grammar_forces_takes_no_steps_of_its_own(spark: Stack) -> None:
    await ask(spark, "Tell me of Bob.", text=json_format(PERSON))
    stats = spark.engines[0].stats
    before = stats.steps
    response = await ask(spark, "Tell me of Ann.", text=json_format(PERSON))
    assert response["status"] == "completed"
    assert stats.steps - before < response["usage"]["output_tokens"] / 2


async def test_hostile_grammars_change_nothing_for_others(spark: Stack) -> None:
    patterns = [f"^(a|b)*a(a|b){{{count}}}$" for count in (12, 200, 900)] + [r"^(\w+\s){1,500}(x|\w+y){3,300}$"]
    refused = [
        ({"type": "string", "pattern": "(a{1000}){1000}"}, "text.format.schema.pattern"),
        ({"type": "string", "pattern": f"^{'a?' * 3000}{'a' * 3000}$"}, "text.format.schema.pattern"),
        ({"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{n}}}"} for n in range(20)]}, "text.format.schema"),
        (
            {
                "$defs": {f"d{n}": {"properties": {"a": {"$ref": f"#/$defs/d{(n + 1) % 999}"}}} for n in range(999)},
                "$ref": "#/$defs/d0",
            },
            "text.format.schema.$defs.d0.properties.a",
        ),
    ]
    alone = await ask(spark, BOTH, tools=[WEATHER])
    hostile = [
        spark.post(input="Go", text=json_format({"type": "string", "pattern": p}), max_output_tokens=150)
        for p in patterns
    ]
    hopeless = [spark.post(input="Go", text=json_format(schema)) for schema, _ in refused]
    tasks = [asyncio.create_task(one) for one in (*hostile, *hopeless)]
    beside = [await ask(spark, BOTH, tools=[WEATHER]) for _ in range(3)]
    for response in beside:
        assert [item["arguments"] for item in response["output"]] == [item["arguments"] for item in alone["output"]]
    answers = await asyncio.gather(*tasks)
    for (_, param), (status, response) in zip(refused, answers[len(patterns) :], strict=True):
        assert (status, response["error"]["code"]) == (400, "invalid_json_schema"), response
        assert response["error"]["param"] == param
    for pattern, (status, response) in zip(patterns, answers[: len(patterns)], strict=True):
        assert status in (200, 500), response
        assert status == 500 or response["status"] in ("completed", "incomplete")
        if status == 200 and response["status"] == "completed":
            assert re.fullmatch(pattern, json.loads(text_of(response)))


@pytest.mark.parametrize(
    ("definition", "syntax"),
    [("start:", "lark"), ("start: start", "lark"), ('start: "x" a\na: b\nb: a', "lark"), ("()", "regex"),
     (r"[^\s\S]", "regex"), ("(a{1000}){1000}", "regex")],
)  # fmt: skip
async def test_a_grammar_that_no_text_follows_is_refused(spark: Stack, definition: str, syntax: str) -> None:
    tool = {"type": "custom", "name": "sum", "format": {"type": "grammar", "syntax": syntax, "definition": definition}}
    status, response = await spark.post(input="Go", tools=[WEATHER, tool])
    assert (status, response["error"]["param"]) == (400, "tools[1].format.definition")


@pytest.mark.parametrize("definition", ["start: /[0-9]{30}/ a\na: b\nb: a"])
async def test_a_grammar_without_a_way_on_is_never_called_completed(spark: Stack, definition: str) -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": definition}
    tool = {"type": "custom", "name": "sum", "format": form}
    status, response = await spark.post(
        input="Go", tools=[tool], tool_choice="required", reasoning={"effort": "none"}, max_output_tokens=80
    )
    assert (status, response["error"]["code"]) == (500, "server_error")
    assert "grammar" in response["error"]["message"]


async def test_thinking_has_a_budget_where_the_template_knows_no_levels(make_stack: StackFactory, redis: Redis) -> None:
    template = (TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()
    stack = await make_stack(loader=loader(template), thinking_tokens_low=6, thinking_tokens_high=24)
    question = "Provide a prime number less than 50"
    engine, dialect = stack.engines[0], detect(template)
    closing = len(engine.tokenize(dialect.early_words + dialect.reasoning_end))
    thought = {}
    for effort, included in [("none", []), ("low", ["message.output_text.logprobs"]), ("low", []), ("high", [])]:
        response = await ask(
            stack, question, reasoning={"effort": effort}, max_output_tokens=300, include=included, background=True
        )
        await stack.resume(response["id"])
        _, response = await stack.get(f"/v1/responses/{response['id']}")
        assert response["status"] == "completed"
        assert response["output"][-1]["type"] == "message"
        thought[effort] = response["usage"]["output_tokens_details"]["reasoning_tokens"]
        log = await event_log.read_all(redis, response["id"])
        tokens = [token for entry in log if entry.progress for token in entry.progress.tokens]
        written = [engine.piece(token).decode(errors="replace") for token in tokens]
        marker = next((place for place in range(len(written)) if "</think>" in "".join(written[: place + 1])), -1)
        assert thought[effort] == marker + 1, written
        assert "</think>" not in str(response["output"])
    assert thought["none"] == 0
    assert 0 < thought["low"] <= 6 + closing
    assert 0 < thought["high"] <= 24 + 24 // 8 + closing


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "no chat template"),
        ("{% if %}", "not a valid chat template"),
        ("{{ raise_exception('never') }}", "refuses a plain message: never"),
    ],
)
async def test_a_bad_template_is_an_error_that_names_the_file(
    make_stack: StackFactory, template: str | None, reason: str
) -> None:
    stack = await make_stack(loader=lambda *_: ScriptedEngine(chat_template=template))
    status, body = await stack.post(input="Hi")
    assert status == 503
    assert reason in body["error"]["message"]
    assert SPARK.name in body["error"]["message"]


async def test_a_template_of_no_known_family_still_calls_and_reasons(make_stack: StackFactory) -> None:
    source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[bot]<think>"
    stack = await make_stack(loader=lambda *_: ScriptedEngine(chat_template=source))
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Oslo"}}\n</tool_call>'
    stack.engine.play(Script("hm", "</think>", *call), Script("</think>", "Rain."))
    _, first = await stack.post(input="Weather?", tools=[WEATHER])
    assert [item["type"] for item in first["output"]] == ["reasoning", "function_call"]
    output = {"type": "function_call_output", "call_id": first["output"][1]["call_id"], "output": "wet"}
    _, second = await stack.post(input=[output], previous_response_id=first["id"], tools=[WEATHER])
    assert text_of(second) == "Rain."
    prompt = stack.engine.text(stack.engine.requests[-1].tokens)
    for shown in ('"get_weather"', '"location": "Oslo"', "wet"):
        assert shown in prompt
