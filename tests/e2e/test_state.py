"""Conversations and WebSockets with the demo model and the official SDK, against `llamarelay up`."""

from __future__ import annotations

import openai
import pytest

from tests.e2e.server import MODEL, Up
from tests.wire import check_event

QUIET = {"reasoning": {"effort": "none"}, "temperature": 0}


def test_a_conversation_remembers(up: Up) -> None:
    with up.sdk() as client:
        conversation = client.conversations.create(metadata={"topic": "names"})
        client.responses.create(model=MODEL, input="My name is Bob.", conversation=conversation.id, **QUIET)
        answer = client.responses.create(
            model=MODEL, input="What is my name?", conversation={"id": conversation.id}, **QUIET
        )
        assert answer.conversation is not None
        assert answer.conversation.id == conversation.id
        assert "Bob" in answer.output_text
        assert answer.usage is not None
        assert answer.usage.input_tokens_details.cached_tokens > 0
        items = list(client.conversations.items.list(conversation.id, order="asc", limit=2))
        assert [item.role for item in items if item.type == "message"] == ["user", "assistant"] * 2
        assert items[-1].id == answer.output[-1].id
        assert client.conversations.update(conversation.id, metadata={}).metadata == {}
        assert client.conversations.delete(conversation.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.responses.create(model=MODEL, input="Hi", conversation=conversation.id)


async def test_a_prewarmed_prompt_is_in_the_cache(up: Up) -> None:
    instructions = "You answer in one short sentence. " * 12
    async with up.async_sdk() as client, client.responses.connect() as connection:
        await connection.response.create(
            model=MODEL, input="My name is Bob.", instructions=instructions, generate=False, store=False, **QUIET
        )
        warm = await final(connection)
        assert warm.output == []
        assert warm.usage is not None
        await connection.response.create(
            model=MODEL,
            input="What is my name?",
            instructions=instructions,
            previous_response_id=warm.id,
            store=False,
            **QUIET,
        )
        answer = await final(connection)
        assert answer.output_text
        assert answer.usage is not None
        assert answer.usage.input_tokens_details.cached_tokens > warm.usage.input_tokens // 2
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(warm.id)


async def test_lanes_with_the_real_model_are_each_exact(up: Up) -> None:
    async with up.async_sdk() as client, client.responses.connect() as connection:
        for number in range(4):
            await connection.response.create(
                model=MODEL, input=f"Count from 1 to {8 + number}", stream_id=f"lane {number}", **QUIET
            )
        told: dict[str, str] = {}
        ended: dict[str, str] = {}
        async for event in connection:
            lane = event.stream_id or ""  # type: ignore[union-attr]
            check_event(event.model_dump(mode="json", exclude_unset=True, exclude={"stream_id"}))
            if event.type == "response.output_text.delta":
                told[lane] = told.get(lane, "") + event.delta
            elif event.type == "response.completed":
                ended[lane] = event.response.output_text
                if len(ended) == 4:
                    break
    assert told == ended
    assert set(told) == {f"lane {number}" for number in range(4)}


async def final(connection: object) -> openai.types.responses.Response:
    """The response at the end of what comes next."""
    async for event in connection:  # type: ignore[attr-defined]
        assert event.type != "error", event
        check_event(event.model_dump(mode="json", exclude_unset=True))
        if event.type == "response.completed":
            response: openai.types.responses.Response = event.response
            return response
    raise AssertionError("the connection ended early")
