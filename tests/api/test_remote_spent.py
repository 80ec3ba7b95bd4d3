"""One call comes of an approval, also where the response that makes it comes to no good end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.api import conversing
from tests.api.test_remote_approvals import answer, asked, of
from tests.api.test_remote_tools import call_of, lossy, mcp, prompt, qwen, sums, until_said
from tests.conftest import StackFactory
from tests.mcp_servers import Running, calculator, slow_server
from tests.stack import MODEL, Stack
from tests.waiting import until
from tests.wire import check_stream
from tests.workers.test_worker import freeze
from workers.engine.core import EngineFailed
from workers.engine.scripted import Script

__all__ = ["qwen", "sums"]

RESET = ("reset", {})


async def request_in(stack: Stack, conversation: str, tools: list[dict[str, Any]], name: str = "reset") -> str:
    """The id of the request for approval that a first response of a conversation ends with."""
    stack.engine.play(Script(*call_of(name)))
    _, first = await stack.post(input="Go", conversation=conversation, tools=tools)
    [request] = of("mcp_approval_request", first)
    identifier: str = request["id"]
    return identifier


async def calls_in(stack: Stack, conversation: str) -> list[dict[str, Any]]:
    return [item for item in await conversing.items_of(stack, conversation) if item["type"] == "mcp_call"]


async def idle(stack: Stack) -> None:
    await until(lambda: stack.workers[0].running == 0)


@pytest.mark.parametrize("how", ["leave", "cancel", "fail"])
async def test_an_answer_counts_though_its_response_ends_badly(qwen: Stack, sums: Running, how: str) -> None:
    conversation = await conversing.new(qwen)
    tools = [mcp(sums, require_approval="always")]
    request = await request_in(qwen, conversation, tools)
    body = {
        "model": MODEL,
        "stream": True,
        "conversation": conversation,
        "input": [answer(request), {"role": "user", "content": "Do it."}],
        "tools": tools,
    }
    gate = asyncio.Event()
    qwen.engine.play(Script("As you", gate, EngineFailed("the GPU caught fire")))
    async with qwen.http.post(qwen.url + "/v1/responses", json=body) as stream:
        async for line in stream.content:
            if line.startswith(b"event: response.output_text.delta"):
                break
        if how == "cancel":
            async with qwen.client() as client:
                await client.responses.cancel(qwen.engine.requests[-1].id)
        elif how == "fail":
            gate.set()
    await idle(qwen)
    status, refused = await qwen.post({**body, "stream": False})
    assert (status, refused["error"]["param"]) == (400, "input[0].approval_request_id")
    assert "answered already" in refused["error"]["message"]
    [call] = await calls_in(qwen, conversation)
    assert (call["approval_request_id"], call["status"], call["output"]) == (request, "completed", "done")
    qwen.engine.play(Script("It is done."))
    status, after = await qwen.post(input="Well?", conversation=conversation, tools=tools)
    assert (status, of("mcp_call", after)) == (200, [])
    assert "done" in prompt(qwen)
    assert "Do it." not in prompt(qwen)
    assert sums.calls == [RESET]


async def test_a_call_that_was_cancelled_may_have_run(qwen: Stack) -> None:
    """The model hears of it, and it is not made again."""
    conversation = await conversing.new(qwen)
    async with slow_server() as slow, asyncio.timeout(30):
        tools = [mcp(slow, require_approval="always")]
        request = await request_in(qwen, conversation, tools, "wait")
        given = {"input": [answer(request)], "conversation": conversation, "tools": tools}
        _, running = await qwen.post(**given, background=True)
        await slow.started.wait()
        async with qwen.client() as client:
            await client.responses.cancel(running["id"])
        await idle(qwen)
        _, cancelled = await qwen.get(f"/v1/responses/{running['id']}")
        assert [call["status"] for call in of("mcp_call", cancelled)] == ["incomplete"]
        assert (await qwen.post(**given))[0] == 400
        [call] = await calls_in(qwen, conversation)
        assert call["status"] == "failed"
        qwen.engine.play(Script("Who knows."))
        await qwen.post(input="Well?", conversation=conversation, tools=tools)
        assert "It may have run" in prompt(qwen)
        assert slow.calls == [("wait", {})]


async def test_an_answer_of_which_nothing_came_can_be_given_again(make_stack: StackFactory, sums: Running) -> None:
    """The response was cancelled before its turn."""
    stack = await lossy(make_stack, slots=1)
    conversation = await conversing.new(stack)
    tools = [mcp(sums, require_approval="always")]
    request = await request_in(stack, conversation, tools)
    gate = asyncio.Event()
    stack.engine.play(Script("a", gate), Script("Done."))
    other = asyncio.create_task(stack.post(input="Hi"))
    await until(lambda: len(stack.engine.requests) == 2)
    given = {"input": [answer(request)], "conversation": conversation, "tools": tools}
    _, queued = await stack.post(**given, background=True)
    async with stack.client() as client:
        await client.responses.cancel(queued["id"])
    gate.set()
    await other
    status, done = await stack.post(**given)
    assert (status, [call["status"] for call in of("mcp_call", done)]) == (200, ["completed"])
    assert sums.calls == [RESET]


async def test_an_answer_that_the_conversation_had_already(qwen: Stack, sums: Running) -> None:
    """It is not of the response that makes the call and comes to nothing; the call stays all the same."""
    conversation = await conversing.new(qwen)
    tools = [mcp(sums, require_approval="always")]
    await conversing.call(qwen, "POST", f"/{conversation}/items", {"items": [asked("reset"), answer()]})
    qwen.engine.play(Script("No", EngineFailed("the GPU caught fire")), Script("Done."))
    _, failed = await qwen.post(input="Go", conversation=conversation, tools=tools)
    assert "error" in failed
    status, after = await qwen.post(input="Again", conversation=conversation, tools=tools)
    assert (status, of("mcp_call", after)) == (200, [])
    assert [call["approval_request_id"] for call in await calls_in(qwen, conversation)] == ["mcpr_1"]
    assert sums.calls == [RESET]


async def test_a_call_of_a_worker_that_was_lost(make_stack: StackFactory, redis: Redis, sums: Running) -> None:
    """No other one takes the response over: a front end ends it."""
    stack = await lossy(make_stack)
    conversation = await conversing.new(stack)
    tools = [mcp(sums, require_approval="always")]
    request = await request_in(stack, conversation, tools)
    stack.engine.play(Script("As you", asyncio.Event()))
    given = {"input": [answer(request)], "conversation": conversation, "tools": tools}
    stream = asyncio.create_task(stack.stream(**given))
    await until(lambda: len(stack.engine.requests) == 2)
    response = stack.engine.requests[-1].id
    await until_said(redis, response, b'"delta":"As you"')
    await freeze(stack)
    async with stack.client() as client:
        await client.responses.cancel(response)
    assert check_stream(await stream)["status"] == "cancelled"
    assert [call["output"] for call in await calls_in(stack, conversation)] == ["done"]
    assert (await stack.post(**given))[0] == 400


async def test_a_call_that_was_not_sent_is_not_spent(make_stack: StackFactory) -> None:
    """Of two, one waits for its turn at the server when the response is cancelled."""
    stack = await lossy(make_stack, mcp_calls_per_minute=1)
    conversation = await conversing.new(stack)
    async with calculator() as server:
        tools = [mcp(server, require_approval="always")]
        stack.engine.play(Script(*call_of("reset"), "\n", *call_of("reset")))
        _, first = await stack.post(input="Go", conversation=conversation, tools=tools)
        requests = [request["id"] for request in of("mcp_approval_request", first)]
        given = {"conversation": conversation, "tools": tools}
        _, running = await stack.post(**given, input=[answer(one) for one in requests], background=True)
        await until_said(stack.workers[0]._redis, running["id"], b"mcp_call.completed")
        async with stack.client() as client:
            await client.responses.cancel(running["id"])
        await idle(stack)
        _, cancelled = await stack.get(f"/v1/responses/{running['id']}")
        calls = {call["approval_request_id"]: call["status"] for call in of("mcp_call", cancelled)}
        assert sorted(calls.values()) == ["completed", "incomplete"]
        [made] = await calls_in(stack, conversation)
        assert calls[made["approval_request_id"]] == "completed"
        for request in requests:
            status, _ = await stack.post(**given, input=[answer(request, approve=False)])
            assert status == (400 if request == made["approval_request_id"] else 200)
        assert server.calls == [RESET]
