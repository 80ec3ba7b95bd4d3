"""Tools over the wire: calls as items and events, histories, choices, refusals. The engine is scripted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.schema.tools import CustomChoice, CustomTool, FunctionChoice, FunctionTool, NamespaceTool
from shared.trials import Trials
from tests.conftest import StackFactory
from tests.stack import Stack
from tests.wire import check_response, check_stream, text_of
from workers.dialects.toolbox import Toolbox
from workers.engine.scripted import Script, ScriptedEngine
from workers.grammar.grammars import eligible

TEMPLATES = Path(__file__).parent.parent / "workers" / "dialects" / "templates"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
NOTE = {"type": "custom", "name": "note", "description": "Writes a note."}


def call_of(name: str, arguments: str) -> tuple[str, ...]:
    head = '{"name": "' + name + '", "arguments": '
    return ("<tool_call>", "\n", head, *arguments, "}", "\n", "</tool_call>")


def allowed(*tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "mode": "auto", "tools": list(tools)}


@pytest.fixture
async def qwen(make_stack: StackFactory) -> Stack:
    """A stack whose model has Qwen3's template."""
    template = (TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()
    return await make_stack(loader=lambda *_: ScriptedEngine(chat_template=template))


def prompt(stack: Stack) -> str:
    return stack.engine.text(stack.engine.requests[-1].tokens)


async def test_a_call_streams_in_the_exact_order(qwen: Stack) -> None:
    qwen.engine.play(Script(*call_of("get_weather", '{"city": "Rome"}')))
    events = await qwen.stream(input="Weather in Rome?", tools=[WEATHER])
    final = check_stream(events)
    kinds = [event["type"].removeprefix("response.") for event in events if not event["type"].endswith(".delta")]
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    [call] = final["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == (
        "function_call",
        "get_weather",
        {"city": "Rome"},
    )
    assert call["id"].startswith("fc_")
    assert call["call_id"].startswith("call_")
    assert call["id"] != call["call_id"]
    deltas = [event["delta"] for event in events if event["type"].endswith("arguments.delta")]
    assert "".join(deltas) == call["arguments"]
    assert final["tools"][0]["name"] == "get_weather"
    assert '"name": "get_weather"' in prompt(qwen)


async def test_a_call_is_answered_and_the_model_goes_on(qwen: Stack) -> None:
    qwen.engine.play(Script("<think>", "hm", "</think>", *call_of("get_weather", '{"city": "Rome"}')), Script("Sunny."))
    _, first = await qwen.post(input="Weather in Rome?", tools=[WEATHER])
    reasoning, call = first["output"]
    assert reasoning["type"] == "reasoning"
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"sky": "clear"}'}
    _, second = await qwen.post(input=[output], previous_response_id=first["id"], tools=[WEATHER])
    assert text_of(second) == "Sunny."
    check_response(second)
    assert '{"name": "get_weather", "arguments": {"city": "Rome"}}' in prompt(qwen)
    assert '<tool_response>\n{"sky": "clear"}\n</tool_response>' in prompt(qwen)
    assert "hm" in prompt(qwen)
    _, items = await qwen.get(f"/v1/responses/{second['id']}/input_items")
    assert items["data"][0]["output"] == '{"sky": "clear"}'


async def test_a_stateless_client_resends_calls_and_outputs_in_parts(qwen: Stack) -> None:
    history = [
        {"role": "user", "content": "Weather in Rome and Oslo?"},
        {"type": "function_call", "call_id": "a", "name": "get_weather", "arguments": '{"city": "Rome"}'},
        {"type": "function_call", "call_id": "b", "name": "get_weather", "arguments": '{"city": "Oslo"}'},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "snow"}]},
        {"type": "function_call_output", "call_id": "a", "output": "sun"},
    ]
    status, response = await qwen.post(input=history, tools=[WEATHER], store=False)
    assert status == 200, response
    assert "snow" in prompt(qwen)
    assert "sun" in prompt(qwen)


async def test_two_calls_in_one_response(qwen: Stack) -> None:
    calls = (*call_of("get_weather", '{"city": "Rome"}'), "\n", *call_of("get_weather", '{"city": "Oslo"}'))
    qwen.engine.play(Script("On it.", "\n", *calls))
    final = check_stream(await qwen.stream(input="Both?", tools=[WEATHER]))
    assert [item["type"] for item in final["output"]] == ["message", "function_call", "function_call"]
    assert [json.loads(item["arguments"])["city"] for item in final["output"][1:]] == ["Rome", "Oslo"]
    assert len({item["call_id"] for item in final["output"][1:]}) == 2


async def test_a_custom_tool_gets_plain_text(qwen: Stack) -> None:
    qwen.engine.play(Script(*call_of("note", json.dumps({"input": 'say "hi"\nthere'}))))
    final = check_stream(await qwen.stream(input="Note it.", tools=[NOTE]))
    [call] = final["output"]
    assert (call["type"], call["input"]) == ("custom_tool_call", 'say "hi"\nthere')
    output = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "noted"}
    status, _ = await qwen.post(input=[output], previous_response_id=final["id"], tools=[NOTE])
    assert status == 200
    assert "noted" in prompt(qwen)


async def test_namespace_tools_round_trip(qwen: Stack) -> None:
    tool = {"type": "namespace", "name": "github", "description": "GitHub", "tools": [WEATHER]}
    qwen.engine.play(Script(*call_of("github__get_weather", '{"city": "Rome"}')))
    final = check_stream(await qwen.stream(input="Weather?", tools=[tool]))
    [call] = final["output"]
    assert (call["name"], call["namespace"]) == ("get_weather", "github")
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}
    await qwen.post(input=[output], previous_response_id=final["id"], tools=[tool])
    assert '"name": "github__get_weather"' in prompt(qwen)


async def test_tool_choice_none_offers_nothing(qwen: Stack) -> None:
    qwen.engine.play(Script(*call_of("get_weather", '{"city": "Rome"}')))
    final = check_stream(await qwen.stream(input="Hi", tools=[WEATHER], tool_choice="none"))
    assert [item["type"] for item in final["output"]] == ["message"]
    assert "get_weather" not in prompt(qwen)


@pytest.mark.parametrize(
    ("tool", "call"),
    [(WEATHER, call_of("get_weather", '{"city": "Rome"}')), (NOTE, call_of("note", '{"input": "Milk and bread"}'))],
)
async def test_a_call_that_was_cut_is_incomplete_and_waits_for_no_output(
    qwen: Stack, tool: dict[str, Any], call: tuple[str, ...]
) -> None:
    async with qwen.http.post(qwen.url + "/v1/conversations", json={}) as made:
        conversation = (await made.json())["id"]
    qwen.engine.play(Script(*call))
    final = check_stream(
        await qwen.stream(input="Go", tools=[tool], max_output_tokens=len(call) - 8, conversation=conversation)
    )
    assert final["status"] == "incomplete"
    cut = final["output"][-1]
    assert cut["status"] == "incomplete"
    assert (await qwen.get(f"/v1/responses/{final['id']}"))[1] == final
    assert (await qwen.post(input="Go on.", previous_response_id=final["id"]))[0] == 200
    assert (await qwen.post(input="Go on.", conversation=conversation))[0] == 200
    kind = cut["type"] + "_output"
    answered = [cut, {"type": kind, "call_id": cut["call_id"], "output": "done"}]
    status, body = await qwen.post(input=answered, tools=[tool])
    assert status == 400
    assert "is incomplete and takes no output" in body["error"]["message"]
    assert (await qwen.post(input=[cut, {"role": "user", "content": "Go on."}], tools=[tool]))[0] == 200


async def test_hosted_tools_are_ignored_or_refused_by_setting(make_stack: StackFactory) -> None:
    tools = [{"type": "web_search"}, WEATHER]
    lenient = await make_stack()
    status, response = await lenient.post(input="Hi", tools=tools)
    assert (status, [tool["name"] for tool in response["tools"]]) == (200, ["get_weather"])
    strict = await make_stack(hosted_tools="refuse")
    status, body = await strict.post(input="Hi", tools=tools)
    assert (status, body["error"]["param"]) == (400, "tools[0]")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "teapot"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tools": [{**WEATHER, "name": ""}]}, "tools[0].name"),
        ({"tools": [{**WEATHER, "name": 'a "b"'}]}, "tools[0].name"),
        ({"tools": [{**NOTE, "name": "n" * 129}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "a b", "tools": [WEATHER]}]}, "tools[0].name"),
        ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "http://x"}]}, "tools[0]"),
        ({"tools": [WEATHER], "tool_choice": "perhaps"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "custom", "name": "get_weather"}}, "tool_choice.type"),
        ({"tools": [NOTE], "tool_choice": {"type": "function", "name": "note"}}, "tool_choice.type"),
        ({"tools": [NOTE], "tool_choice": allowed({"type": "function", "name": "note"})}, "tool_choice.tools[0].type"),
        (
            {
                "tools": [WEATHER, NOTE],
                "tool_choice": allowed(
                    {"type": "function", "name": "get_weather"}, {"type": "custom", "name": "get_weather"}
                ),
            },
            "tool_choice.tools[1].type",
        ),
        ({"tools": [WEATHER], "tool_choice": allowed({"name": "get_weather"})}, "tool_choice.tools[0].type"),
        ({"tools": [WEATHER], "tool_choice": allowed({"type": ["function"]})}, "tool_choice.tools[0].type"),
        ({"tools": [WEATHER], "tool_choice": allowed({"type": "function"})}, "tool_choice.tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [{**WEATHER, "parameters": {"type": "object", "properties": {"a": {"type": "strung"}}}}]},
            "tools[0].parameters.properties.a.type",
        ),
        (
            {"tools": [{**NOTE, "format": {"type": "grammar", "syntax": "regex", "definition": "("}}]},
            "tools[0].format.definition",
        ),
        ({"tools": [{**WEATHER, "parameters": {"type": "string"}}]}, "tools[0].parameters.type"),
        ({"tools": [{**WEATHER, "parameters": {"type": "array"}, "strict": False}]}, "tools[0].parameters.type"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": []}},
            "tool_choice",
        ),
        (
            {
                "tools": [WEATHER, NOTE],
                "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]},
            },
            "tool_choice",
        ),
        ({"text": {"format": {"type": "json_schema", "name": "x y", "schema": {}}}}, "text.format.name"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "no"}}}},
            "text.format.schema.type",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "x", "output": "1"}]},
            "input[0].call_id",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "x", "name": "f", "arguments": "{}"}]},
            "input",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "x", "name": "f", "arguments": "{}"}] * 2},
            "input[1].call_id",
        ),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "x", "name": "f", "arguments": "{}"},
                    {"type": "custom_tool_call_output", "call_id": "x", "output": "1"},
                ]
            },
            "input[1].call_id",
        ),
    ],
)
async def test_what_is_wrong_with_tools_is_named(qwen: Stack, fields: dict[str, Any], param: str) -> None:
    status, body = await qwen.post(**{"input": "Hi", **fields})
    assert (status, body["error"]["param"]) == (400, param), body


async def test_tools_of_one_name_are_told_apart_by_their_type(qwen: Stack) -> None:
    """As they may be called in two namespaces."""
    note = {"type": "namespace", "name": "desk", "description": "", "tools": [{**WEATHER, "name": "note"}]}
    for kind, offered in (("custom", "note"), ("function", "desk__note")):
        status, _ = await qwen.post(input="Hi", tools=[NOTE, note], tool_choice={"type": kind, "name": "note"})
        assert status == 200
        tools = Toolbox([CustomTool(name="note"), NamespaceTool(name="desk", tools=[FunctionTool(name="note")])])
        choice = CustomChoice(name="note") if kind == "custom" else FunctionChoice(name="note")
        assert [tool.name for tool in eligible(tools, choice)] == [offered]


async def test_what_need_not_be_kept_is_not_refused(qwen: Stack) -> None:
    odd = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    qwen.engine.play(Script("Hello"), Script("Hello"))
    form = {"type": "json_schema", "name": "x", "schema": odd, "strict": False}
    for fields in ({"tools": [{**WEATHER, "parameters": odd, "strict": False}]}, {"text": {"format": form}}):
        status, response = await qwen.post(input="Hi", **fields)
        assert (status, response["status"]) == (200, "completed"), response
    for fields in ({"tools": [{**WEATHER, "parameters": odd}]}, {"text": {"format": {**form, "strict": None}}}):
        status, response = await qwen.post(input="Hi", **fields)
        assert status == 400
        assert response["error"]["param"].endswith("properties.a.uniqueItems")


async def test_the_tool_that_is_too_much_to_look_into_is_named(qwen: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the time of the request; what is known takes none."""
    known = {**WEATHER, "name": "known", "parameters": {"type": "object", "properties": {"known": {"type": "string"}}}}
    other = {**known, "name": "other", "parameters": {"type": "object", "properties": {"other": {"type": "string"}}}}
    qwen.engine.play(Script("Hello"), Script("Hello"))
    assert (await qwen.post(input="Hi", tools=[known]))[0] == 200
    monkeypatch.setattr(
        "shared.lanes.Trials", lambda seconds=0.0, first_look=False: Trials(seconds=0.0, first_look=first_look)
    )
    assert (await qwen.post(input="Hi", tools=[known]))[0] == 200
    status, body = await qwen.post(input="Hi", tools=[known, other])
    assert (status, body["error"]["param"]) == (400, "tools[1].parameters")
    assert "take more than 5 s to look into" in body["error"]["message"]


async def test_all_tools_together_have_a_size(qwen: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.tools.MAX_TOOLS_BYTES", 10_000)
    status, body = await qwen.post(input="Hi", tools=[WEATHER, {**NOTE, "description": "x" * 10_000}])
    assert (status, body["error"]["param"]) == (400, "tools")


async def test_an_output_nobody_asked_for_is_refused_in_a_chain(qwen: Stack) -> None:
    qwen.engine.play(Script(*call_of("get_weather", '{"city": "Rome"}')))
    _, first = await qwen.post(input="Weather?", tools=[WEATHER])
    status, body = await qwen.post(input="Never mind.", previous_response_id=first["id"])
    assert status == 400
    assert first["output"][0]["call_id"] in body["error"]["message"]
    output = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "1"}
    status, body = await qwen.post(input=[output, output], previous_response_id=first["id"])
    assert (status, body["error"]["param"]) == (400, "input[1].call_id")


async def test_a_reasoning_summary_is_given_when_asked_for(qwen: Stack) -> None:
    said = "The user greets me. I count to three. One two three. So I greet back."
    for style, sentences in (("concise", 1), ("auto", 2), ("detailed", 4)):
        qwen.engine.play(Script("<think>", said, "</think>", "Hello"))
        events = await qwen.stream(input="Hi", reasoning={"summary": style})
        final = check_stream(events)
        [summary] = final["output"][0]["summary"]
        assert summary["text"].count(".") == sentences
        assert summary["text"].endswith("So I greet back.")
        assert "response.reasoning_summary_part.done" in [event["type"] for event in events]
    qwen.engine.play(Script("<think>", said, "</think>", "Hello"))
    assert check_stream(await qwen.stream(input="Hi"))["output"][0]["summary"] == []
