"""Compaction: on request and by itself; a sealed summary that really stands for the conversation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai.types.responses import CompactedResponse
from pydantic import TypeAdapter
from redis.asyncio import Redis

from tests.api.test_remote_tools import twin, until_said
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.waiting import until
from tests.wire import check_stream, text_of
from tests.workers.test_lost_ends import unended
from tests.workers.test_worker import freeze
from workers.engine.scripted import Script

KEY = {"encryption_key": "a secret of the deployment"}


def prompt(stack: Stack, which: int = -1) -> str:
    return stack.engine.text(stack.engine.requests[which].tokens)


async def compact(stack: Stack, **fields: Any) -> tuple[int, Any]:
    async with stack.http.post(stack.url + "/v1/responses/compact", json={"model": MODEL, **fields}) as answer:
        return answer.status, await answer.json()


async def test_a_compacted_conversation_stands_for_what_was_said(make_stack: StackFactory) -> None:
    stack = await make_stack(**KEY)
    stack.engine.play(Script("A1"), Script("They", " like tea."), Script("Tea."))
    _, first = await stack.post(input="I like tea.")
    status, answer = await compact(stack, previous_response_id=first["id"])
    assert status == 200
    # the SDK's type of output items knows no user message, though its documentation puts them here
    TypeAdapter(CompactedResponse).validate_python({**answer, "output": answer["output"][1:]}, strict=True)
    assert [item["type"] for item in answer["output"]] == ["message", "compaction"]
    assert answer["output"][0]["content"][0]["text"] == "I like tea."
    assert "tea" not in answer["output"][1]["encrypted_content"]
    assert answer["usage"]["output_tokens"] == 3
    assert "Summarize the conversation" in prompt(stack)
    status, second = await stack.post(input=[*answer["output"], {"role": "user", "content": "What do I like?"}])
    assert (status, text_of(second)) == (200, "Tea.")
    assert prompt(stack) == (
        "<|im_start|>system\nSummary of the conversation so far:\nThey like tea.<|im_end|>\n"
        "<|im_start|>user\nWhat do I like?<|im_end|>\n<|im_start|>assistant\n"
    )
    _, items = await stack.get(f"/v1/responses/{second['id']}/input_items?order=asc")
    assert items["data"][1] == answer["output"][1]


async def test_nothing_is_stored_of_the_summarising_response(make_stack: StackFactory, redis: Any) -> None:
    stack = await make_stack(**KEY)
    await compact(stack, input="I like tea.")
    assert [key for key in await redis.keys() if b"resp_" in key] == []


async def test_a_changed_compaction_is_refused(make_stack: StackFactory) -> None:
    stack = await make_stack(**KEY)
    _, answer = await compact(stack, input="I like tea.")
    item = answer["output"][-1]
    item["encrypted_content"] = item["encrypted_content"][:-4] + "AAAA"
    status, body = await stack.post(input=[item, {"role": "user", "content": "Q"}])
    assert (status, body["error"]["param"]) == (400, "input[0].encrypted_content")


async def test_compaction_needs_a_key(stack: Stack) -> None:
    status, body = await compact(stack, input="Hi")
    assert status == 400
    assert "ENCRYPTION_KEY" in body["error"]["message"]
    management = [{"type": "compaction", "compact_threshold": 5}]
    status, body = await stack.post(input="Hi", context_management=management)
    assert (status, body["error"]["param"]) == (400, "context_management")


async def test_a_long_conversation_compacts_itself(make_stack: StackFactory) -> None:
    stack = await make_stack(**KEY)
    stack.engine.play(Script("A1"), Script("They like ", "tea."), Script("A2"), Script("A3"))
    management = [{"type": "compaction", "compact_threshold": 100}]
    _, first = await stack.post(input="I like tea. " * 5, context_management=management)
    assert [item["type"] for item in first["output"]] == ["message"]
    events = await stack.stream(input="Q2", previous_response_id=first["id"], context_management=management)
    second = check_stream(events)
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[2:5] == ["compaction.compacting", "output_item.added", "output_item.done"]
    assert [item["type"] for item in second["output"]] == ["compaction", "message"]
    summary = "<|im_start|>system\nSummary of the conversation so far:\nThey like tea.<|im_end|>\n"
    question = "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n"
    assert prompt(stack) == summary + question
    counted = sum(len(request.tokens) for request in stack.engine.requests[1:3])
    assert second["usage"]["input_tokens"] == counted
    assert second["usage"]["output_tokens"] == 5
    await stack.post(input="Q3", previous_response_id=second["id"])
    assert prompt(stack) == summary + question + (
        "A2<|im_end|>\n<|im_start|>user\nQ3<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_a_client_that_leaves_while_compacting_frees_its_slot(make_stack: StackFactory) -> None:
    stack = await make_stack(**KEY)
    stack.engine.play(Script("one", asyncio.Event()))
    task = asyncio.create_task(compact(stack, input="Hi"))
    async with asyncio.timeout(10):
        while not stack.engine.stats.running:
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while stack.engine.stats.running:
            await asyncio.sleep(0.005)


async def test_a_compaction_takes_nothing_of_the_answers_limit(make_stack: StackFactory) -> None:
    stack = await make_stack(**KEY)
    stack.engine.play(Script("A1"), Script("They ", "like ", "tea."), Script("A2"))
    management = [{"type": "compaction", "compact_threshold": 100}]
    _, first = await stack.post(input="I like tea. " * 5)
    _, second = await stack.post(
        input="Q2", previous_response_id=first["id"], context_management=management, max_output_tokens=2
    )
    assert (second["status"], text_of(second)) == ("completed", "A2")


SUMMARY, ANSWER = ("They ", "like ", "tea."), (*"A2 is",)


@pytest.mark.parametrize(
    ("summarised", "said", "last"),
    [
        (2, 0, b"compaction.compacting"),
        (3, 0, b'"type":"response.output_item.done"'),
        (3, 2, b'"delta":"2"'),
        (3, 5, b'"delta":"s"'),
    ],
    ids=["in the summary", "behind the summary", "in the answer", "at the limit"],
)
async def test_a_worker_lost_beside_a_compaction_changes_no_usage(
    make_stack: StackFactory, redis: Redis, summarised: int, said: int, last: bytes
) -> None:
    """What the summary took counts once, and not against `max_output_tokens`, whoever ends the response."""
    stack = await make_stack(**KEY, poll_seconds=0.1)
    management = [{"type": "compaction", "compact_threshold": 100}]
    fields: dict[str, Any] = {"input": "Q2", "context_management": management, "max_output_tokens": len(ANSWER)}
    summary, answer = Script(*SUMMARY, cached_tokens=30), Script(*ANSWER, cached_tokens=9)
    stack.engine.play(Script("A1"), summary, answer)
    fields["previous_response_id"] = (await stack.post(input="I like tea. " * 5))[1]["id"]
    undisturbed = check_stream(await stack.stream(**fields))
    assert undisturbed["usage"]["input_tokens"] == sum(len(request.tokens) for request in stack.engine.requests[1:3])
    assert undisturbed["usage"]["input_tokens_details"]["cached_tokens"] == 39
    assert undisturbed["usage"]["output_tokens"] == len(SUMMARY) + 1 + len(ANSWER)

    gate = asyncio.Event()
    if summarised == len(SUMMARY):
        stack.engine.play(summary, Script(*ANSWER[:said], gate, cached_tokens=9, finish="length"))
    else:
        stack.engine.play(Script(*SUMMARY[:summarised], gate))
    before = stack.engine.stats.generated_tokens
    with unended() as about:
        stream = asyncio.create_task(stack.stream(**fields))
        await until(lambda: stack.engine.stats.generated_tokens == before + summarised + said)
        if said == len(ANSWER):
            await about.wait()
        await until_said(redis, stack.engine.requests[-1].id, last)
        await freeze(stack)
    rest = Script(*ANSWER[said:], cached_tokens=5 if said else 9)
    heir = twin(stack.engine, *([summary] if summarised < len(SUMMARY) else []), rest)
    await stack.add_worker(lambda *_: heir)
    final = check_stream(await stream)
    assert final["usage"] == undisturbed["usage"]
    assert (final["status"], text_of(final)) == (undisturbed["status"], "A2 is")


@pytest.mark.parametrize("joined", [False, True], ids=["chain", "conversation"])
async def test_a_compaction_in_a_turn_without_a_question_keeps_the_question(
    make_stack: StackFactory, joined: bool
) -> None:
    """The turn brings a tool's output: the question it belongs to, and the call, are in the turn before."""
    stack = await make_stack(**KEY)
    conversation = None
    if joined:
        async with stack.http.post(stack.url + "/v1/conversations", json={}) as made:
            conversation = (await made.json())["id"]
    parent = None

    async def ask(given: Any, **fields: Any) -> Any:
        nonlocal parent
        link = {"conversation": conversation} if joined else {"previous_response_id": parent}
        _, response = await stack.post(input=given, **link, **fields)
        parent = response["id"]
        return response

    stack.engine.play(Script("A1"), Script("A2"), Script("They like tea."), Script("A3"))
    await ask("I like tea. " * 5)
    await ask("Which is best?")
    management = [{"type": "compaction", "compact_threshold": 100}]
    third = await ask([{"role": "assistant", "content": "Assam."}], context_management=management)
    assert [item["type"] for item in third["output"]] == ["compaction", "message"]
    assert "Which is best?" in prompt(stack)
    await ask("Q4")
    assert "Which is best?" in prompt(stack)
    assert ("They like tea." in prompt(stack)) != joined
