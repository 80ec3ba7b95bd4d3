"""`conversation` on a response: what it reads, what it adds, and that two at once do neither wrongly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from api.context import CREATION
from api.errors import ApiError
from shared.api_keys import PUBLIC
from shared.redis import keys
from shared.schema.request import CreateResponse
from tests.api.conversing import call, items_of, new, texts_of
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.waiting import until
from tests.wire import check_response, check_stream, text_of
from tests.workers.test_worker import freeze
from workers.engine.core import EngineFailed
from workers.engine.scripted import Script, ScriptedEngine


async def test_a_response_reads_the_conversation_and_is_added_to_it(stack: Stack) -> None:
    conversation = await new(stack, "before")
    stack.engine.play(Script("<think>", "hm", "</think>", "one"), Script("two"))
    first = check_stream(await stack.stream(input="Q1", conversation=conversation))
    assert first["conversation"] == {"id": conversation}
    _, second = await stack.post(input="Q2", conversation={"id": conversation})
    check_response(second)
    assert second["conversation"] == {"id": conversation}
    said = [("user", "before"), ("user", "Q1"), ("assistant", "one"), ("user", "Q2")]
    assert prompt(stack) == "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in said) + (
        "<|im_start|>assistant\n"
    )
    items = await items_of(stack, conversation)
    assert [item["type"] for item in items] == ["message", "message", "reasoning", *["message"] * 3]
    assert await texts_of(stack, conversation) == ["before", "Q1", "one", "Q2", "two"]
    outputs = [item["id"] for response in (first, second) for item in response["output"]]
    assert [items[2]["id"], items[3]["id"], items[5]["id"]] == outputs
    _, own = await stack.get(f"/v1/responses/{second['id']}/input_items")
    assert own["data"] == [items[4]]


async def test_a_conversation_is_enough_input(stack: Stack) -> None:
    assert (await stack.post(conversation=await new(stack, "Hi")))[0] == 200
    status, body = await stack.post(conversation=await new(stack))
    assert (status, body["error"]["param"]) == (400, "input")


async def test_conversation_and_parent_exclude_each_other(stack: Stack) -> None:
    _, parent = await stack.post(input="Hi")
    for fields in ({"conversation": await new(stack)}, {"conversation": {"id": "conv_none"}}):
        status, body = await stack.post(input="Hi", previous_response_id=parent["id"], **fields)
        assert (status, body["error"]["code"]) == (400, "mutually_exclusive_parameters")


@pytest.mark.parametrize(
    ("conversation", "status", "param"),
    [
        ("conv_none", 404, "conversation"),
        ("", 404, "conversation"),
        ({"id": "conv_none"}, 404, "conversation"),
        ({}, 400, "conversation.id"),
        ({"id": "conv_1", "x": 1}, 400, "conversation.x"),
        (3, 400, "conversation"),
    ],
)
async def test_a_wrong_conversation_is_refused(stack: Stack, conversation: Any, status: int, param: str) -> None:
    for stream in (False, True):
        answered, body = await stack.post(input="Hi", conversation=conversation, stream=stream)
        assert (answered, body["error"]["param"]) == (status, param)


async def test_incomplete_adds_what_failed_or_cancelled_does_not(stack: Stack) -> None:
    conversation = await new(stack)
    stack.engine.play(Script("one", " two"), Script("half", EngineFailed("broken")), Script("half", asyncio.Event()))
    _, cut = await stack.post(input="Q1", conversation=conversation, max_output_tokens=1)
    assert cut["status"] == "incomplete"
    assert (await stack.post(input="Q2", conversation=conversation))[0] == 500
    running = asyncio.create_task(stack.stream(input="Q3", conversation=conversation))
    await until(lambda: stack.engine.stats.running == 1)
    await stack.http.post(f"{stack.url}/v1/responses/{stack.engine.requests[-1].id}/cancel")
    assert check_stream(await running)["status"] == "cancelled"
    assert await texts_of(stack, conversation) == ["Q1", "one"]
    assert (await stack.post(input="Q4", conversation=conversation))[0] == 200


async def test_a_second_response_is_refused_until_the_first_has_ended(stack: Stack) -> None:
    conversation = await new(stack, "before")
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate))
    first = asyncio.create_task(stack.stream(input="Q1", conversation=conversation))
    await until(lambda: stack.engine.stats.running == 1)
    assert await refused(stack, conversation) == {(409, "conversation_locked")}
    assert (await call(stack, "POST", f"/{conversation}", {"metadata": {"a": "b"}}))[0] == 200
    gate.set()
    assert check_stream(await first)["status"] == "completed"
    assert (await stack.post(input="Q2", conversation=conversation))[0] == 200
    assert await texts_of(stack, conversation) == ["before", "Q1", "one", "Q2", "ok"]


async def test_of_many_at_once_each_turn_is_whole(make_stack: StackFactory) -> None:
    stack = await make_stack(fronts=2, workers=2, loader=lambda *_: ScriptedEngine(lambda request: Script("a", "b")))
    conversation = await new(stack)

    async def ask(number: int) -> None:
        """As the SDKs do it: a 409 is tried again."""
        status = 409
        while status == 409:
            status, answer = await stack.post(input=str(number), conversation=conversation, front=number % 2)
            assert status == 200 or answer["error"]["code"] == "conversation_locked"
        assert status == 200

    await asyncio.gather(*(ask(number) for number in range(10)))
    texts = await texts_of(stack, conversation)
    assert sorted(texts[::2]) == sorted(map(str, range(10)))
    assert texts[1::2] == ["ab"] * 10


async def test_a_client_that_leaves_frees_the_conversation(stack: Stack) -> None:
    conversation = await new(stack)
    for store in (True, False):
        stack.engine.play(Script("one", asyncio.Event()))
        running = asyncio.create_task(stack.stream(input="Q1", conversation=conversation, store=store))
        await until(lambda: stack.engine.stats.running == 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await until(lambda: stack.engine.stats.running == 0)
        await until_free(stack, conversation)
    assert await texts_of(stack, conversation) == []


@pytest.mark.parametrize("lost", ["response", "job"])
async def test_a_lost_response_holds_nothing(stack: Stack, redis: Redis, lost: str) -> None:
    conversation = await new(stack)
    stack.engine.play(Script("one", gate := asyncio.Event()))
    running = asyncio.create_task(stack.stream(input="Q1", conversation=conversation))
    await until(lambda: stack.engine.stats.running == 1)
    response_id = stack.engine.requests[-1].id
    assert (await stack.post(input="Q2", conversation=conversation))[0] == 409
    await redis.delete(keys.response(response_id) if lost == "response" else keys.job(response_id))
    assert (await stack.post(input="Q2", conversation=conversation))[0] == 200
    gate.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await until(lambda: stack.engine.stats.running == 0)
    await until(lambda: stack.workers[0].running == 0)
    assert await texts_of(stack, conversation) == ["Q2", "ok"]  # the lost one does not hold it any more


async def test_another_worker_goes_on_and_adds_the_turn_once(make_stack: StackFactory) -> None:
    stack = await make_stack(poll_seconds=0.1)
    conversation = await new(stack, "before")
    stack.engine.play(Script(asyncio.Event()))
    running = asyncio.create_task(stack.stream(input="Q1", conversation=conversation))
    await until(lambda: stack.engine.stats.running == 1)
    await freeze(stack)
    assert (await stack.post(input="Q2", conversation=conversation))[0] == 409
    await stack.add_worker(lambda *_: ScriptedEngine(Script("from another")))
    assert text_of((await running)[-1]["response"]) == "from another"
    assert await texts_of(stack, conversation) == ["before", "Q1", "from another"]


async def test_deleting_the_conversation_of_a_running_response_is_clean(stack: Stack, redis: Redis) -> None:
    conversation = await new(stack, "before")
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, "two"))
    running = asyncio.create_task(stack.stream(input="Q1", conversation=conversation))
    await until(lambda: stack.engine.stats.running == 1)
    assert (await call(stack, "DELETE", f"/{conversation}"))[0] == 200
    gate.set()
    final = check_stream(await running)
    assert (final["status"], text_of(final)) == ("completed", "onetwo")
    assert await redis.keys(f"*{conversation}*") == [keys.deleted(conversation).encode()]
    status, body = await stack.post(input="Q2", previous_response_id=final["id"])
    assert (status, body["error"]["code"]) == (400, "previous_response_not_found")


async def test_a_response_whose_conversation_is_gone_before_it_reads_it_fails(make_stack: StackFactory) -> None:
    stack = await make_stack(slots=1)
    stack.engine.play(Script(gate := asyncio.Event(), "first"))
    first = asyncio.create_task(stack.post(input="Hi"))
    await until(lambda: stack.engine.stats.running == 1)
    conversation = await new(stack, "before")
    waiting = asyncio.create_task(stack.stream(input="Q1", conversation=conversation))
    async with asyncio.timeout(10):
        while (await call(stack, "POST", f"/{conversation}/items", {"items": []}))[0] != 409:
            await asyncio.sleep(0.005)
    await call(stack, "DELETE", f"/{conversation}")
    gate.set()
    await first
    final = check_stream(await waiting)
    assert (final["status"], final["error"]["code"]) == ("failed", "invalid_prompt")
    assert len(stack.engine.requests) == 1


async def test_an_unstored_response_is_added_and_leaves_nothing_else(stack: Stack, redis: Redis) -> None:
    conversation = await new(stack)
    final = check_stream(await stack.stream(input="Q1", conversation=conversation, store=False))
    async with asyncio.timeout(30):  # the client has the end before the response is forgotten
        while [key for key in await redis.keys() if b"resp_" in key]:
            await asyncio.sleep(0.005)
    assert (await stack.get(f"/v1/responses/{final['id']}"))[0] == 404
    assert await texts_of(stack, conversation) == ["Q1", "ok"]


async def test_a_background_response_belongs_to_a_conversation_too(stack: Stack) -> None:
    conversation = await new(stack)
    stack.engine.play(Script("one", gate := asyncio.Event()))
    _, queued = await stack.post(input="Q1", conversation=conversation, background=True)
    check_response(queued)
    await until(lambda: stack.engine.stats.running == 1)
    assert (await stack.post(input="Q2", conversation=conversation))[0] == 409
    gate.set()
    assert (await stack.resume(queued["id"]))[-1]["response"]["conversation"] == {"id": conversation}
    assert await texts_of(stack, conversation) == ["Q1", "one"]


async def test_a_chain_from_a_conversation_sees_it_as_it_was_then(stack: Stack) -> None:
    conversation = await new(stack, "before")
    _, turn = await stack.post(input="Q1", conversation=conversation)
    await stack.post(input="later", conversation=conversation)
    stack.engine.play(Script("A2"), Script("A3"))
    _, child = await stack.post(input="Q2", previous_response_id=turn["id"])
    assert child["conversation"] is None
    await stack.post(input="Q3", previous_response_id=child["id"])
    said = [
        ("user", "before"),
        ("user", "Q1"),
        ("assistant", "ok"),
        ("user", "Q2"),
        ("assistant", "A2"),
        ("user", "Q3"),
    ]
    assert prompt(stack) == "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in said) + (
        "<|im_start|>assistant\n"
    )
    assert await texts_of(stack, conversation) == ["before", "Q1", "ok", "later", "ok"]


async def test_an_item_that_is_there_already_is_refused(stack: Stack) -> None:
    conversation = await new(stack)
    items = [{"id": "msg_1", "role": "user", "content": "Hi"}]
    assert (await stack.post(input=items, conversation=conversation))[0] == 200
    for again in (items, [{"type": "item_reference", "id": (await items_of(stack, conversation))[1]["id"]}]):
        status, body = await stack.post(input=again, conversation=conversation)
        assert (status, body["error"]["code"]) == (400, "duplicate_item")
    status, body = await stack.post(input=[{**items[0], "id": "msg_2"}] * 2, conversation=conversation)
    assert (status, body["error"]["code"]) == (400, "duplicate_item")
    assert len(stack.engine.requests) == 1


async def test_a_repeated_request_is_added_once(stack: Stack) -> None:
    conversation = await new(stack)
    body = {"model": MODEL, "input": "Q1", "conversation": conversation}

    async def post() -> Any:
        headers = {"Idempotency-Key": "abc"}
        async with stack.http.post(stack.url + "/v1/responses", json=body, headers=headers) as answer:
            return await answer.json()

    answers = await asyncio.gather(*(post() for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert await texts_of(stack, conversation) == ["Q1", "ok"]


async def test_input_tokens_count_the_conversation(stack: Stack) -> None:
    conversation = await new(stack, "one", "two")
    fields = {"model": MODEL, "input": "Hi", "conversation": conversation}
    async with stack.http.post(stack.url + "/v1/responses/input_tokens", json=fields) as answer:
        counted = await answer.json()
    _, response = await stack.post(body=fields)
    assert counted == {"object": "response.input_tokens", "input_tokens": response["usage"]["input_tokens"]}


async def test_a_conversation_that_is_too_long_is_refused_with_the_numbers(make_stack: StackFactory) -> None:
    stack = await make_stack(loader=lambda *_: ScriptedEngine(context_length=3000))
    conversation = await new(stack, "x" * 2000)
    assert (await stack.post(input="Hi", conversation=conversation))[0] == 200
    status, body = await stack.post(input="y" * 1000, conversation=conversation)
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    _, turn = await stack.post(input="Hi", conversation=conversation)
    status, body = await stack.post(input="y" * 1000, previous_response_id=turn["id"])
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    item = (await items_of(stack, conversation))[0]
    await call(stack, "DELETE", f"/{conversation}/items/{item['id']}")
    assert (await stack.post(input="y" * 1000, conversation=conversation))[0] == 200


async def test_the_bytes_of_a_conversation_are_counted_exactly(stack: Stack, redis: Redis) -> None:
    conversation = await new(stack, "12345")
    _, turn = await stack.post(input="123", conversation=conversation)

    async def number(key: str, field: str) -> int:
        return int(await redis.hget(key, field) or 0)  # type: ignore[misc]

    assert await number(keys.conversation(conversation), "bytes") == 5 + 3 + len("ok")
    assert await number(keys.response(turn["id"]), "context_bytes") == 5 + 3 + len("ok")
    _, child = await stack.post(input="1", previous_response_id=turn["id"])
    assert await number(keys.response(child["id"]), "context_bytes") == 5 + 3 + len("ok") + 1 + len("ok")
    for item in await items_of(stack, conversation):
        await call(stack, "DELETE", f"/{conversation}/items/{item['id']}")
    assert await number(keys.conversation(conversation), "bytes") == 0


CALL = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}


async def test_a_call_in_a_conversation_waits_for_its_output(stack: Stack) -> None:
    conversation = await new(stack)
    assert (await call(stack, "POST", f"/{conversation}/items", {"items": [CALL]}))[0] == 200
    status, body = await stack.post(input="Q", conversation=conversation)
    assert (status, body["error"]["message"]) == (400, "No tool output found for function call call_1.")
    other = {**OUTPUT, "call_id": "call_2"}
    status, body = await stack.post(input=[other], conversation=conversation)
    assert (status, body["error"]["param"]) == (400, "input[0].call_id")
    assert (await stack.post(input=[OUTPUT], conversation=conversation))[0] == 200
    assert "sunny" in prompt(stack)
    status, body = await stack.post(input=[OUTPUT], conversation=conversation)
    assert (status, body["error"]["param"]) == (400, "input[0].call_id")
    assert (await stack.post(input="Q", conversation=conversation))[0] == 200
    kinds = [item["type"] for item in await items_of(stack, conversation)]
    assert kinds == ["function_call", "function_call_output", *["message"] * 3]


async def test_a_model_that_calls_is_answered_in_its_conversation(stack: Stack) -> None:
    conversation = await new(stack)
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    stack.engine.play(Script("<tool_call>", '{"name": "get_weather", "arguments": {}}', "</tool_call>"))
    _, calling = await stack.post(input="Q1", conversation=conversation, tools=[tool])
    [made] = calling["output"]
    assert (made["type"], made["id"][:3]) == ("function_call", "fc_")
    assert (await stack.post(input="Q2", conversation=conversation))[0] == 400
    output = {**OUTPUT, "call_id": made["call_id"]}
    assert (await stack.post(input=[output], conversation=conversation, tools=[tool]))[0] == 200
    assert made in await items_of(stack, conversation)


async def test_items_added_by_hand_open_and_close_calls_too(stack: Stack) -> None:
    conversation = await new(stack)
    custom = {"type": "custom_tool_call", "call_id": "call_2", "name": "note", "input": "x"}
    _, added = await call(stack, "POST", f"/{conversation}/items", {"items": [CALL, custom]})
    assert (await stack.post(input="Q", conversation=conversation))[0] == 400
    await call(stack, "POST", f"/{conversation}/items", {"items": [OUTPUT]})
    assert (await stack.post(input="Q", conversation=conversation))[0] == 400
    await call(stack, "DELETE", f"/{conversation}/items/{added['last_id']}")
    assert (await stack.post(input="Q", conversation=conversation))[0] == 200


async def test_a_conversation_that_changes_while_a_request_is_checked_is_not_joined(stack: Stack) -> None:
    conversation = await new(stack, "before")
    creation = stack.fronts[0].app[CREATION]
    request = CreateResponse(input="Q1", conversation=conversation)
    draft = await creation.draft(request, PUBLIC)
    await call(stack, "POST", f"/{conversation}/items", {"items": [CALL]})
    with pytest.raises(ApiError) as caught:
        await creation.create(draft)
    assert (caught.value.status, caught.value.detail.code) == (409, "conversation_locked")


async def test_a_compaction_stands_where_the_next_turn_reads_it(make_stack: StackFactory) -> None:
    stack = await make_stack(encryption_key="a test's key")
    conversation = await new(stack, "I like tea. " * 9)
    stack.engine.play(Script("They like tea."), Script("A1"))
    management = [{"type": "compaction", "compact_threshold": 100}]
    await stack.post(input="Q1", conversation=conversation, context_management=management)
    await stack.post(input="Q2", conversation=conversation)
    assert prompt(stack) == (
        "<|im_start|>system\nSummary of the conversation so far:\nThey like tea.<|im_end|>\n"
        "<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n"
    )
    kinds = [item["type"] for item in await items_of(stack, conversation)]
    assert kinds == ["message", "compaction", *["message"] * 4]


async def test_a_prewarm_over_http_computes_the_prompt_and_says_nothing(stack: Stack) -> None:
    final = check_stream(await stack.stream(input="Hi", prompt_cache_options={"prewarm": True}))
    assert (final["status"], final["output"]) == ("completed", [])
    assert final["usage"]["output_tokens"] == 0
    assert stack.engine.requests[-1].max_tokens == 0


def prompt(stack: Stack) -> str:
    """The prompt of the last generation."""
    return stack.engine.text(stack.engine.requests[-1].tokens)


async def refused(stack: Stack, conversation: str) -> set[tuple[int, str]]:
    """What every way to write to a conversation says."""
    item = (await items_of(stack, conversation))[0]["id"]
    answers = [
        await stack.post(input="Q2", conversation=conversation),
        await call(stack, "POST", f"/{conversation}/items", {"items": [{"role": "user", "content": "x"}]}),
        await call(stack, "DELETE", f"/{conversation}/items/{item}"),
    ]
    return {(status, body["error"]["code"]) for status, body in answers}


async def until_free(stack: Stack, conversation: str) -> None:
    """Returns when no response holds the conversation."""
    async with asyncio.timeout(10):
        while (await call(stack, "POST", f"/{conversation}/items", {"items": []}))[0] == 409:
            await asyncio.sleep(0.005)
