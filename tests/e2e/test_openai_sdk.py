"""The official Python SDK against `llamarelay up`: sync, async, and its strict `responses.stream()` helper."""

from __future__ import annotations

import asyncio

import openai
import pytest

from tests.e2e.server import MODEL, Up
from tests.wire import check_event


def test_create_retrieve_delete(up: Up) -> None:
    with up.sdk() as client:
        response = client.responses.create(model=MODEL, input="Hello", metadata={"a": "b"})
        assert response.status == "completed"
        assert response.output_text
        assert client.responses.retrieve(response.id).output_text == response.output_text
        client.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response.id)


def test_stream_events(up: Up) -> None:
    with up.sdk() as client:
        events = list(client.responses.create(model=MODEL, input="Count from 1 to 20", stream=True))
    for event in events:
        check_event(event.model_dump(mode="json", exclude_unset=True))
    assert events[-1].type == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


def test_stream_helper(up: Up) -> None:
    with up.sdk() as client:
        with client.responses.stream(model=MODEL, input="Hello", reasoning={"effort": "low"}) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        stored = client.responses.retrieve(final.id)
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_text
    assert stored.output_text == final.output_text


def test_resume_with_the_sdk(up: Up) -> None:
    with up.sdk() as client:
        events = list(client.responses.create(model=MODEL, input="Hello", stream=True))
        response_id = events[0].response.id  # type: ignore[union-attr]
        resumed = list(client.responses.retrieve(response_id, stream=True, starting_after=4))
        assert [event.sequence_number for event in resumed] == [event.sequence_number for event in events[5:]]
        last = events[-1].sequence_number
        [end] = client.responses.retrieve(response_id, stream=True, starting_after=last)
        assert (end.type, end.sequence_number) == ("response.completed", last + 1)
        with client.responses.stream(response_id=response_id, starting_after=4) as stream:
            assert [event.sequence_number for event in stream] == [event.sequence_number for event in events[5:]]


def test_chain(up: Up) -> None:
    with up.sdk() as client:
        first = client.responses.create(model=MODEL, input="My name is Bob.", reasoning={"effort": "none"})
        second = client.responses.create(
            model=MODEL,
            input="What is my name?",
            previous_response_id=first.id,
            reasoning={"effort": "none"},
            temperature=0,
        )
    assert second.previous_response_id == first.id
    assert "Bob" in second.output_text
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens > 0


def test_errors_are_the_sdks_exceptions(up: Up) -> None:
    with up.sdk() as client:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.responses.create(model="no/model", input="Hi")
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=MODEL, input="Hi", temperature=5)
        assert caught.value.param == "temperature"


def test_models(up: Up) -> None:
    with up.sdk() as client:
        assert MODEL in [model.id for model in client.models.list()]
        assert client.models.retrieve(MODEL).id == MODEL


async def test_sixteen_streams_at_once(up: Up) -> None:
    async with up.async_sdk() as client:

        async def count(to: int) -> tuple[str, str]:
            stream = await client.responses.create(
                model=MODEL,
                input=f"Count from 1 to {to}",
                stream=True,
                temperature=0,
                reasoning={"effort": "none"},
            )
            parts = []
            async for event in stream:
                if event.type == "response.output_text.delta":
                    parts.append(event.delta)
            assert event.type == "response.completed"
            return "".join(parts), event.response.output_text

        answers = await asyncio.gather(*(count(10 + number) for number in range(16)))
        for streamed, final in answers:
            assert streamed == final
        alone = [await count(10 + number) for number in (0, 15)]
    assert [alone[0], alone[1]] == [answers[0], answers[15]]


async def test_agents_sdk(up: Up) -> None:
    from agents import Agent, Runner, set_tracing_disabled
    from agents.models.openai_responses import OpenAIResponsesModel

    set_tracing_disabled(True)
    async with up.async_sdk() as client:
        agent = Agent(name="spark", model=OpenAIResponsesModel(model=MODEL, openai_client=client))
        assert (await Runner.run(agent, "Hello")).final_output
        streamed = Runner.run_streamed(agent, "Hello")
        kinds = [event.type async for event in streamed.stream_events()]
        assert "raw_response_event" in kinds
        assert streamed.final_output
