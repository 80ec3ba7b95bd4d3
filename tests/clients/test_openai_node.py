"""The official SDK for JavaScript. The Python SDK's tests are in tests/e2e/test_openai_sdk.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.clients.node_program import Node
from tests.e2e.server import MODEL, Up
from tests.stack import Stack
from tests.waiting import until
from tests.wire import check_event, check_stream, deltas, text_of
from workers.engine.core import EngineFailed
from workers.engine.scripted import Script

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def live(node: Node, up: Up) -> Run:
    """Runs a case against `llamarelay up`."""
    return lambda case, **options: node.run("openai.mjs", case, up.url, MODEL, **options)


@pytest.fixture
def scripted(node: Node, stack: Stack) -> Run:
    """Runs a case against a stack whose engine says what the test wants."""
    return lambda case, **options: node.run("openai.mjs", case, stack.url, MODEL, **options)


async def test_plain(live: Run) -> None:
    answer = await live("plain", input="Hello")
    assert answer["response"]["status"] == "completed"
    assert answer["text"] == text_of(answer["response"]) != ""
    assert answer["requestId"].startswith("req_")


async def test_text_arrives_as_it_was_generated(scripted: Run, stack: Stack) -> None:
    stack.engine.play(Script("Grüße, ", b"\xf0\x9f", b"\x98\x80", " \u2028\0 ", "</script>"))
    answer = await scripted("plain", input="Hi 日本 \0 \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"))
    assert answer["text"] == "Grüße, 😀 \u2028\0 </script>"
    assert "Hi 日本 \0 😀" in stack.engine.text(stack.engine.requests[-1].tokens)


async def test_stream(live: Run) -> None:
    events = await live("stream", input="Count from 1 to 20")
    for event in events:
        check_event(event)
    final = check_stream(events)
    assert deltas(events) == text_of(final)


async def test_stream_helper(live: Run) -> None:
    answer = await live("helper", input="Hello")
    assert answer["status"] == "completed"
    assert answer["deltas"] == answer["text"] != ""


async def test_chain(live: Run) -> None:
    first, second, third = await live("chain", inputs=["My name is Bob.", "I live in Rome.", "What is my name?"])
    assert (second["previous"], third["previous"]) == (first["id"], second["id"])
    assert "Bob" in third["text"]


async def test_retrieve_items_resume_and_delete(live: Run) -> None:
    answer = await live("retrieve", input="Hello")
    assert answer["retrieved"]["output"] == answer["created"]["output"]
    assert [item["content"][0]["text"] for item in answer["items"]] == ["Hello"]
    check_stream(answer["events"])
    assert answer["resumed"] == answer["events"][4:]
    assert "NotFoundError" in answer["gone"]["classes"]


async def test_cancel_a_background_response(scripted: Run, stack: Stack) -> None:
    stack.engine.play(Script("one", asyncio.Event(), "two"))
    answer = await scripted("cancel", input="Hi")
    assert answer == {"created": "queued", "cancelled": "cancelled", "stored": "cancelled"}
    await until(lambda: stack.engine.stats.running == 0)


async def test_input_tokens(scripted: Run) -> None:
    framing = len("Suser\nE\nSassistant\n")  # a marker is one token
    assert await scripted("tokens", input="x" * 50) == {
        "object": "response.input_tokens",
        "input_tokens": 50 + framing,
    }


async def test_models(live: Run) -> None:
    answer = await live("models")
    assert MODEL in answer["listed"]
    assert answer["retrieved"]["id"] == MODEL


async def test_errors_are_the_sdks_exceptions(live: Run) -> None:
    errors = await live("errors")
    expected = {
        "model": ("NotFoundError", 404, "model", "model_not_found"),
        "field": ("BadRequestError", 400, "temperature", "invalid_value"),
        "stream": ("BadRequestError", 400, "top_p", "invalid_value"),
        "parent": ("BadRequestError", 400, "previous_response_id", "previous_response_not_found"),
        "missing": ("NotFoundError", 404, "id", "response_not_found"),
    }
    for name, (kind, status, param, code) in expected.items():
        error = errors[name]
        assert error["classes"][:2] == [kind, "APIError"]
        assert (error["status"], error["param"], error["code"]) == (status, param, code)
        assert error["type"] == "invalid_request_error"
        assert error["requestID"].startswith("req_")


async def test_a_failed_generation_throws_or_ends_the_stream(scripted: Run, stack: Stack) -> None:
    stack.engine.play(*[Script("half", EngineFailed("the GPU caught fire"))] * 2)
    answer = await scripted("failure")
    assert "InternalServerError" in answer["thrown"]["classes"]
    assert answer["last"]["type"] == "response.failed"
    assert answer["last"]["response"]["error"]["code"] == "server_error"


@pytest.mark.parametrize("case", ["abort", "leave"])
async def test_aborting_a_stream_cancels_the_generation(scripted: Run, stack: Stack, case: str) -> None:
    stack.engine.play(Script("one", asyncio.Event(), "two"))
    await scripted(case, input="Hi")
    await until(lambda: len(stack.engine.cancelled) == 1)


# Function tools and structured output (`responses.parse`, `zodTextFormat`): with issue 5, as cases `tools` and `parse`.
