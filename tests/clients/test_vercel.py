"""Vercel's AI SDK: `@ai-sdk/openai` speaks OpenAI's form of the API, `@ai-sdk/open-responses` the open one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.clients.node_program import Node
from tests.e2e.server import MODEL, Up
from tests.stack import Stack
from tests.waiting import until
from workers.engine.scripted import Script

Run = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["openai", "open-responses"])
def provider(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def live(node: Node, up: Up, provider: str) -> Run:
    """Runs a case against `llamarelay up`."""
    return lambda case, **options: node.run("vercel.mjs", case, up.url, MODEL, **{"provider": provider, **options})


@pytest.fixture
def scripted(node: Node, stack: Stack, provider: str) -> Run:
    """Runs a case against a stack whose engine says what the test wants."""
    return lambda case, **options: node.run("vercel.mjs", case, stack.url, MODEL, **{"provider": provider, **options})


async def test_plain(live: Run) -> None:
    answer = await live("plain", input="Hello")
    assert answer["finishReason"] == "stop"
    assert answer["text"]
    assert answer["usage"]["outputTokens"] > 0
    assert answer["usage"]["inputTokens"] > 0


async def test_reasoning_is_told_from_text(scripted: Run, stack: Stack, provider: str) -> None:
    stack.engine.play(Script("<think>", "hm", "</think>", "Grüße 😀"))
    answer = await scripted("plain", input="Hi")
    assert answer["text"] == "Grüße 😀"
    assert answer["model"] == MODEL
    assert answer["usage"]["reasoningTokens"] == 3
    assert answer["reasoningText"] == ("hm" if provider == "open-responses" else "")  # that one reads summaries only


async def test_stream(live: Run) -> None:
    answer = await live("stream", input="Count from 1 to 20")
    assert answer["errors"] == []
    assert answer["text"] == answer["final"] != ""
    assert answer["finishReason"] == "stop"
    assert answer["kinds"].count("text-start") == answer["kinds"].count("text-end") == 1
    assert answer["kinds"][-1] == "finish"


async def test_an_answer_that_is_cut_says_so(scripted: Run, stack: Stack) -> None:
    stack.engine.play(*[Script("half", finish="length")] * 2)
    assert (await scripted("plain", input="Hi"))["finishReason"] == "length"
    assert (await scripted("stream", input="Hi"))["finishReason"] == "length"


async def test_a_chat_sent_whole(scripted: Run, stack: Stack) -> None:
    stack.engine.play(Script("one"), Script("two"))
    assert await scripted("chat", system="Be brief.", inputs=["first", "second"]) == ["one", "two"]
    prompt = stack.engine.text(stack.engine.requests[-1].tokens)
    order = [prompt.index(text) for text in ("Be brief.", "first", "one", "second")]
    assert order == sorted(order)


async def test_a_chat_with_the_history_the_sdk_keeps(scripted: Run, stack: Stack) -> None:
    stack.engine.play(Script("<think>", "hm", "</think>", "one"), Script("two"))
    assert await scripted("history", inputs=["first", "second"]) == ["one", "two"]
    prompt = stack.engine.text(stack.engine.requests[-1].tokens)
    order = [prompt.index(text) for text in ("first", "one", "second")]
    assert order == sorted(order)


async def test_a_chain(node: Node, up: Up) -> None:
    inputs = ["My name is Bob.", "I live in Rome.", "What is my name?"]
    answers = await node.run("vercel.mjs", "chain", up.url, MODEL, provider="openai", inputs=inputs)
    assert len({answer["id"] for answer in answers}) == 3
    assert "Bob" in answers[-1]["text"]


async def test_errors_are_the_sdks_exceptions(live: Run) -> None:
    errors = await live("errors", input="Hi")
    for name, status, param in (("model", 404, "model"), ("field", 400, "temperature")):
        error = errors[name]
        assert error["name"] == "AI_APICallError"
        assert (error["statusCode"], error["isRetryable"]) == (status, False)
        assert json.loads(error["responseBody"])["error"]["param"] == param
        assert len(error["message"]) > 10


async def test_aborting_a_stream_cancels_the_generation(scripted: Run, stack: Stack) -> None:
    stack.engine.play(Script("one", asyncio.Event(), "two"))
    assert (await scripted("abort", input="Hi"))[-1] == "abort"
    await until(lambda: len(stack.engine.cancelled) == 1)


# The SDK has no calls to retrieve or to cancel a response. Tools (`tool`) and structured output (`Output.object`) come
# with issue 5, as cases `tools` and `object`.
