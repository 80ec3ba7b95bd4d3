"""`POST /v1/responses` end to end, with a scripted engine behind real HTTP, Redis and arq."""

from __future__ import annotations

from tests.stack import Stack
from tests.wire import check_response, check_stream, deltas, reasoning_of, text_of
from workers.engine.scripted import Script


async def test_a_text_answer_streams_in_the_exact_order(stack: Stack) -> None:
    stack.engine.play(Script("Hel", "lo", " there"))
    events = await stack.stream(input="Hi")
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    final = check_stream(events)
    assert text_of(final) == deltas(events) == "Hello there"
    assert final["status"] == "completed"
    assert final["usage"]["output_tokens"] == 4


async def test_reasoning_comes_as_an_item_of_its_own(stack: Stack) -> None:
    stack.engine.play(Script("<think>", "\n", "Two", " steps.\n", "</think>", "\n\n", "Done", "."))
    events = await stack.stream(input="Hi", reasoning={"effort": "low"})
    final = check_stream(events)
    assert [item["type"] for item in final["output"]] == ["reasoning", "message"]
    assert reasoning_of(final) == "Two steps."
    assert text_of(final) == "Done."
    assert final["usage"]["output_tokens_details"]["reasoning_tokens"] == 5


async def test_without_stream_the_finished_response_is_the_answer(stack: Stack) -> None:
    stack.engine.play(Script("Hello"))
    status, response = await stack.post(input="Hi")
    assert status == 200
    check_response(response)
    assert text_of(response) == "Hello"
    assert await stack.get(f"/v1/responses/{response['id']}") == (200, response)
