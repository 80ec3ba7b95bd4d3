"""LangChain's `ChatOpenAI(use_responses_api=True)`."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

from tests.e2e.server import MODEL, Up
from tests.stack import Stack
from tests.waiting import until
from workers.engine.scripted import Script


def chat(url: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=MODEL,
        base_url=url + "/v1",
        api_key="none",  # type: ignore[arg-type]
        use_responses_api=True,
        max_retries=0,
        **options,
    )


async def test_plain(up: Up) -> None:
    answer = await chat(up.url).ainvoke("Hello")
    assert answer.text
    assert answer.response_metadata["status"] == "completed"
    assert answer.response_metadata["model_name"] == MODEL
    usage = answer.usage_metadata
    assert usage is not None
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


def test_the_synchronous_calls(up: Up) -> None:
    model = chat(up.url)
    assert model.invoke("Hello").text
    assert "".join(chunk.text for chunk in model.stream("Hello"))


async def test_stream(stack: Stack) -> None:
    stack.engine.play(Script("<think>", "hm", "</think>", "one ", b"\xf0\x9f", b"\x98\x80", " two"))
    whole: Any = None
    pieces = []
    async for chunk in chat(stack.url).astream("Hi"):
        assert isinstance(chunk, AIMessageChunk)
        pieces.append(chunk.text)
        whole = chunk if whole is None else whole + chunk
    assert len([piece for piece in pieces if piece]) == 3
    assert whole.text == "one 😀 two"
    assert whole.response_metadata["status"] == "completed"


async def test_reasoning_survives_a_round_trip(stack: Stack) -> None:
    stack.engine.play(Script("<think>", "hm", "</think>", "one"), Script("two"))
    model = chat(stack.url)
    first = await model.ainvoke("Hi")
    assert [block["type"] for block in first.content_blocks] == ["reasoning", "text"]
    second = await model.ainvoke([HumanMessage("Hi"), first, HumanMessage("And?")])
    assert second.text == "two"


async def test_a_chat_sent_whole(stack: Stack) -> None:
    stack.engine.play(Script("two"))
    history = [SystemMessage("Be brief."), HumanMessage("first"), AIMessage("one"), HumanMessage("second")]
    assert (await chat(stack.url).ainvoke(history)).text == "two"
    prompt = stack.engine.text(stack.engine.requests[-1].tokens)
    order = [prompt.index(text) for text in ("Be brief.", "first", "one", "second")]
    assert order == sorted(order)


async def test_a_chain_by_id(up: Up) -> None:
    model = chat(up.url, use_previous_response_id=True, reasoning={"effort": "none"}, temperature=0)
    history: list[Any] = [HumanMessage("My name is Bob.")]
    history += [await model.ainvoke(history), HumanMessage("What is my name?")]
    answer = await model.ainvoke(history)
    assert "Bob" in answer.text
    assert answer.response_metadata["id"] != history[1].response_metadata["id"]
    explicit = await chat(up.url, reasoning={"effort": "none"}, temperature=0).ainvoke(
        "What is my name?", previous_response_id=history[1].response_metadata["id"]
    )
    assert "Bob" in explicit.text


async def test_an_answer_that_is_cut_says_so(stack: Stack) -> None:
    stack.engine.play(Script("half", finish="length"))
    answer = await chat(stack.url).ainvoke("Hi")
    assert answer.response_metadata["status"] == "incomplete"
    assert answer.response_metadata["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_errors_are_the_sdks_exceptions(up: Up) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await chat(up.url).ainvoke("Hi", model="no/model")
    with pytest.raises(openai.BadRequestError) as caught:
        await chat(up.url, temperature=5).ainvoke("Hi")
    assert caught.value.param == "temperature"


async def test_leaving_a_stream_cancels_the_generation(stack: Stack) -> None:
    stack.engine.play(Script("one", asyncio.Event(), "two"))
    stream = chat(stack.url).astream("Hi")
    async for chunk in stream:
        if chunk.text:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    await until(lambda: len(stack.engine.cancelled) == 1)


# `bind_tools` and `with_structured_output` come with issue 5.
