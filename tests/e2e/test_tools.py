"""Tools and structured output with the demo models: what the grammar holds is right whatever the model says."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from openai.types.responses import FunctionToolParam
from pydantic import BaseModel

from tests.e2e.server import Up

MODELS = ["llamarelay/spark", "llamarelay/spark-oss"]
WEATHER: FunctionToolParam = {
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
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "job": {"enum": ["cook", "pilot"]},
    },
    "required": ["name", "age", "job"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("model", "effort"), [(MODELS[0], "none"), (MODELS[0], "low"), (MODELS[1], "low"), (MODELS[1], "medium")]
)
def test_a_function_is_called_answered_and_told(up: Up, model: str, effort: Any) -> None:
    with up.sdk() as client:
        first = client.responses.create(
            model=model,
            input="What's the weather like in San Francisco?",
            tools=[WEATHER],
            temperature=0,
            reasoning={"effort": effort},
        )
        calls = [item for item in first.output if item.type == "function_call"]
        assert [(call.name, json.loads(call.arguments)) for call in calls] == [
            ("get_weather", {"location": "San Francisco"})
        ]
        second = client.responses.create(
            model=model,
            previous_response_id=first.id,
            input=[
                {
                    "type": "function_call_output",
                    "call_id": calls[0].call_id,
                    "output": '{"temperature": 18, "condition": "sunny"}',
                }
            ],
            tools=[WEATHER],
            temperature=0,
            reasoning={"effort": effort},
        )
    assert "18" in second.output_text
    assert "sunny" in second.output_text


@pytest.mark.parametrize("model", MODELS)
def test_a_required_call_comes_whatever_is_asked(up: Up, model: str) -> None:
    with up.sdk() as client:
        for choice in ("required", {"type": "function", "name": "get_weather"}):
            response = client.responses.create(
                model=model,
                input="Hello!",
                tools=[WEATHER],
                tool_choice=choice,  # type: ignore[arg-type]
                parallel_tool_calls=False,
                max_output_tokens=400,
            )
            if response.status == "incomplete":
                continue
            [call] = [item for item in response.output if item.type == "function_call"]
            jsonschema.validate(json.loads(call.arguments), WEATHER["parameters"])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("effort", ["none", "low"])
def test_a_schema_is_kept(up: Up, model: str, effort: Any) -> None:
    with up.sdk() as client:
        response = client.responses.create(
            model=model,
            input="Give me a JSON object with name Bob, age 42, job pilot.",
            text={"format": {"type": "json_schema", "name": "person", "schema": PERSON, "strict": True}},
            reasoning={"effort": effort},
            temperature=0,
        )
    assert response.status == "completed"
    jsonschema.validate(json.loads(response.output_text), PERSON)


class Person(BaseModel):
    name: str
    age: int


async def test_the_sdk_parses_what_it_asked_for(up: Up) -> None:
    question = "Give me a JSON object with name Bob, age 42."
    with up.sdk() as client:
        parsed = client.responses.parse(model=MODELS[0], input=question, text_format=Person, temperature=0)
        assert isinstance(parsed.output_parsed, Person)
        with client.responses.stream(model=MODELS[0], input=question, text_format=Person, temperature=0) as stream:
            assert isinstance(stream.get_final_response().output_parsed, Person)
    async with up.async_sdk() as client_:
        again = await client_.responses.parse(model=MODELS[0], input=question, text_format=Person, temperature=0)
    assert isinstance(again.output_parsed, Person)


@pytest.mark.parametrize("model", MODELS)
def test_any_json_object(up: Up, model: str) -> None:
    with up.sdk() as client:
        response = client.responses.create(
            model=model,
            input="Give me a JSON object with name Bob.",
            text={"format": {"type": "json_object"}},
            max_output_tokens=300,
            reasoning={"effort": "none"},
        )
    if response.status == "completed":
        assert isinstance(json.loads(response.output_text), dict)
    else:
        assert response.status == "incomplete"


@pytest.mark.parametrize("model", MODELS)
def test_a_custom_tool_follows_its_regex(up: Up, model: str) -> None:
    with up.sdk() as client:
        response = client.responses.create(
            model=model,
            input="Note the code 12-34.",
            tools=[
                {
                    "type": "custom",
                    "name": "note",
                    "description": "Writes a code down.",
                    "format": {"type": "grammar", "syntax": "regex", "definition": "[0-9]{2}-[0-9]{2}"},
                }
            ],
            tool_choice={"type": "custom", "name": "note"},
            reasoning={"effort": "low"},
            max_output_tokens=400,
        )
    [call] = [item for item in response.output if item.type == "custom_tool_call"]
    assert len(call.input) == 5
    assert call.input[2] == "-"


@pytest.mark.parametrize("model", MODELS)
def test_effort_none_means_no_reasoning_and_low_means_some(up: Up, model: str) -> None:
    with up.sdk() as client:
        for effort, kinds in (("none", ["message"]), ("low", ["reasoning", "message"])):
            response = client.responses.create(
                model=model,
                input="Provide a prime number less than 50",
                reasoning={"effort": effort},  # type: ignore[typeddict-item]
                temperature=0,
            )
            assert [item.type for item in response.output] == kinds
            assert response.usage is not None
            assert (response.usage.output_tokens_details.reasoning_tokens > 0) == (effort == "low")


async def test_agents_sdk_runs_a_function_tool_loop(up: Up) -> None:
    from agents import Agent, ModelSettings, Runner, function_tool, set_tracing_disabled
    from agents.models.openai_responses import OpenAIResponsesModel

    asked = []

    @function_tool
    def get_weather(location: str) -> str:
        """Get the current weather in a given location"""
        asked.append(location)
        return '{"temperature": 18, "condition": "sunny"}'

    set_tracing_disabled(True)
    async with up.async_sdk() as client:
        agent = Agent(
            name="spark",
            model=OpenAIResponsesModel(model=MODELS[0], openai_client=client),
            tools=[get_weather],
            model_settings=ModelSettings(temperature=0),
        )
        result = await Runner.run(agent, "What's the weather like in San Francisco?")
        assert asked == ["San Francisco"]
        assert "18" in result.final_output
        streamed = Runner.run_streamed(agent, "What's the weather like in San Francisco?")
        async for _ in streamed.stream_events():
            pass
        assert asked == ["San Francisco"] * 2
        assert "18" in streamed.final_output
