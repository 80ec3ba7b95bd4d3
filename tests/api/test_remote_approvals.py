"""Approvals of remote calls: what needs one, what an answer brings about, and how often."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.api_keys import PUBLIC
from shared.redis import conversations, keys
from shared.schema.items import McpApprovalResponse
from tests.api.sockets import Socket
from tests.api.test_compaction import compact
from tests.api.test_remote_tools import call_of, lossy, mcp, prompt, qwen, sums, twin
from tests.conftest import StackFactory
from tests.mcp_servers import Running, many_results
from tests.stack import Stack
from tests.wire import check_stream, text_of
from workers.engine.engine import load_engine
from workers.engine.scripted import Script

__all__ = ["qwen", "sums"]


@pytest.mark.parametrize("never", [{}, {"tool_names": []}])
async def test_a_filter_that_names_no_tool_lets_none_run(qwen: Stack, sums: Running, never: Any) -> None:
    qwen.engine.play(Script(*call_of("reset")))
    _, response = await qwen.post(input="Go", tools=[mcp(sums, require_approval={"never": never})])
    assert response["output"][-1]["type"] == "mcp_approval_request"
    assert sums.calls == []


def asked(name: str, arguments: str = "{}", number: int = 1) -> dict[str, Any]:
    """A request for approval of the client's own making."""
    return {
        "type": "mcp_approval_request",
        "id": f"mcpr_{number}",
        "server_label": "docs",
        "name": name,
        "arguments": arguments,
    }


def answer(request_id: str = "mcpr_1", *, approve: bool = True) -> dict[str, Any]:
    return {"type": "mcp_approval_response", "approval_request_id": request_id, "approve": approve}


GO = {"role": "user", "content": "Go"}


def approved(most: int, name: str = "add") -> list[dict[str, Any]]:
    """As many approved calls, of the client's own making."""
    pairs = ((asked(name, f'{{"a": 1, "b": {n}}}', n), answer(f"mcpr_{n}")) for n in range(most))
    return [GO, *(item for pair in pairs for item in pair)]


def of(kind: str, response: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in response["output"] if item["type"] == kind]


@pytest.mark.parametrize("text", ["\\ud800", "a\\udc00b", "\\ud800\\ud800"])
async def test_half_a_surrogate_in_arguments_ends_its_own_call_alone(qwen: Stack, text: str) -> None:
    """It cannot be sent to a server, and the model reads it as it was spelled."""
    async with many_results() as server:
        given = [GO]
        for number, words in enumerate((text, "good")):
            given += [asked("echo", f'{{"text": "{words}"}}', number), answer(f"mcpr_{number}")]
        status, response = await qwen.post(input=given, tools=[mcp(server)])
        assert (status, response["status"]) == (200, "completed")
        broken, good = of("mcp_call", response)
        assert (broken["status"], broken["error"]["type"]) == ("failed", "mcp_protocol_error")
        assert (good["status"], good["output"]) == ("completed", "good")
    assert json.dumps(text)[1:-1] in prompt(qwen)


async def test_half_a_surrogate_in_the_history(stack: Stack) -> None:
    """Also in a function's arguments."""
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"text": "\\ud800"}'}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "fine"}
    status, response = await stack.post(input=[GO, call, output])
    assert (status, response["status"]) == (200, "completed")


async def test_more_approved_calls_than_allowed_are_refused(qwen: Stack, sums: Running) -> None:
    status, body = await qwen.post(input=approved(3), tools=[mcp(sums)], max_tool_calls=2)
    assert (status, body["error"]["param"]) == (400, "input[6].approval_request_id")
    assert "max_tool_calls" in body["error"]["message"]
    status, body = await qwen.post(input=approved(33), tools=[mcp(sums)], max_tool_calls=100)
    assert (status, body["error"]["param"]) == (400, "input[66].approval_request_id")
    assert "MCP_MAX_CALLS" in body["error"]["message"]
    assert sums.calls == []
    status, response = await qwen.post(input=approved(2), tools=[mcp(sums)], max_tool_calls=2)
    assert status == 200
    assert len(of("mcp_call", response)) == len(sums.calls) == 2


async def test_calls_that_were_made_already_are_not_counted(qwen: Stack, sums: Running) -> None:
    """A stateless client sends them all again, with every request."""
    history = approved(3)
    for item in (item for item in history[:] if item.get("type") == "mcp_approval_request"):
        call = {**item, "type": "mcp_call", "id": f"mcp_{item['id']}", "approval_request_id": item["id"], "output": "1"}
        history.append(call)
    status, response = await qwen.post(input=[*history, GO], tools=[mcp(sums)], max_tool_calls=2)
    assert (status, response["status"]) == (200, "completed")
    assert sums.calls == []


async def conversation_of(stack: Stack, *items: dict[str, Any]) -> tuple[int, Any]:
    async with stack.http.post(stack.url + "/v1/conversations", json={"items": items}) as made:
        return made.status, await made.json()


async def test_approved_calls_of_a_conversation_keep_to_the_limit(qwen: Stack, sums: Running) -> None:
    """What the front end has not looked through: those beyond the limit fail, and the model hears of it."""
    _, conversation = await conversation_of(qwen, {"type": "message", **GO}, *approved(3)[1:])
    status, response = await qwen.post(
        input="Hello", conversation=conversation["id"], tools=[mcp(sums)], max_tool_calls=2
    )
    assert status == 200, response
    calls = of("mcp_call", response)
    assert [call["status"] for call in calls] == ["completed", "completed", "failed"]
    assert "limit" in calls[2]["error"]["message"]
    assert "limit" in prompt(qwen)
    assert len(sums.calls) == 2
    _, again = await qwen.post(input="Hello", conversation=conversation["id"], tools=[mcp(sums)])
    assert of("mcp_call", again) == []


async def test_a_conversation_takes_one_answer_to_each_request(qwen: Stack, sums: Running) -> None:
    request = asked("reset")
    status, body = await conversation_of(qwen, request, answer(), answer())
    assert (status, body["error"]["param"]) == (400, "items[2].approval_request_id")
    status, body = await conversation_of(qwen, answer())
    assert (status, body["error"]["param"]) == (400, "items[0].approval_request_id")
    status, conversation = await conversation_of(qwen, request)
    url = f"{qwen.url}/v1/conversations/{conversation['id']}/items"
    for wanted, words in ((200, ""), (400, "answered already")):
        async with qwen.http.post(url, json={"items": [answer()]}) as added:
            assert added.status == wanted
            assert words in await added.text()
    async with qwen.http.post(url + "x", json={"items": [answer()]}) as added:
        assert added.status == 404
    _, response = await qwen.post(input="Hello", conversation=conversation["id"], tools=[mcp(sums)])
    assert [call["status"] for call in of("mcp_call", response)] == ["completed"]
    assert sums.calls == [("reset", {})]


@pytest.mark.parametrize("first", [True, False])
async def test_of_two_answers_the_first_counts(qwen: Stack, redis: Redis, sums: Running, first: bool) -> None:
    """However the second has come into the conversation."""
    _, conversation = await conversation_of(qwen, asked("reset"), answer(approve=first))
    second = McpApprovalResponse(id="mcpa_second", approval_request_id="mcpr_1", approve=True)
    await conversations.add(redis, conversation["id"], PUBLIC, [second], 60)
    _, response = await qwen.post(input="Hello", conversation=conversation["id"], tools=[mcp(sums)])
    assert len(of("mcp_call", response)) == len(sums.calls) == int(first)


COMPACT = [{"type": "compaction", "compact_threshold": 1000}]


@pytest.mark.parametrize("approve", [True, False])
async def test_a_request_outlives_a_compaction(make_stack: StackFactory, sums: Running, approve: bool) -> None:
    """Approved, the call is made; refused, the model is told."""
    stack = await lossy(make_stack)
    tools = [mcp(sums, require_approval="always")]
    stack.engine.play(Script(*call_of("reset")), Script("SUMMARY"), Script("Not much."), Script("As you say."))
    _, first = await stack.post(input="Reset it. " * 50, tools=tools)
    [request] = of("mcp_approval_request", first)
    _, second = await stack.post(
        input="And else?", tools=tools, previous_response_id=first["id"], context_management=COMPACT
    )
    assert of("compaction", second)
    status, third = await stack.post(
        input=[answer(request["id"], approve=approve)], tools=tools, previous_response_id=second["id"]
    )
    assert (status, text_of(third)) == (200, "As you say.")
    assert "SUMMARY" in prompt(stack)
    assert sums.calls == ([("reset", {})] if approve else [])
    assert ("did not approve" in prompt(stack)) == (not approve)
    if approve:
        assert of("mcp_call", third)[0]["approval_request_id"] == request["id"]
    stack.engine.play(Script("Fine."))
    _, fourth = await stack.post(input="Good", tools=tools, previous_response_id=third["id"])
    assert of("mcp_call", fourth) == []


@pytest.mark.parametrize("approve", [True, False])
async def test_an_answer_in_the_response_that_compacts(make_stack: StackFactory, sums: Running, approve: bool) -> None:
    stack = await lossy(make_stack)
    tools = [mcp(sums, require_approval="always")]
    stack.engine.play(Script(*call_of("reset")), Script("Not much."), Script("SUMMARY"), Script("As you say."))
    _, first = await stack.post(input="Reset it. " * 50, tools=tools)
    [request] = of("mcp_approval_request", first)
    _, second = await stack.post(input="And else?", tools=tools, previous_response_id=first["id"])
    _, third = await stack.post(
        input=[answer(request["id"], approve=approve)],
        tools=tools,
        previous_response_id=second["id"],
        context_management=COMPACT,
    )
    assert of("compaction", third)
    assert text_of(third) == "As you say."
    assert len(sums.calls) == int(approve)
    assert ("done" in prompt(stack)) == approve
    assert ("did not approve" in prompt(stack)) == (not approve)


@pytest.mark.parametrize("approve", [True, False])
@pytest.mark.parametrize("state", ["response", "conversation", "none"])
async def test_a_request_outlives_a_compaction_on_request(
    qwen: Stack, sums: Running, state: str, approve: bool
) -> None:
    tools = [mcp(sums, require_approval="always")]
    qwen.engine.play(Script(*call_of("reset")), Script("SUMMARY"), Script("As you say."))
    _, conversation = await conversation_of(qwen)
    where = {"conversation": conversation["id"]} if state == "conversation" else {}
    _, first = await qwen.post(input="Reset it.", tools=tools, **where)
    [request] = of("mcp_approval_request", first)
    earlier = {"input": [GO, *first["output"]]} if state == "none" else {"previous_response_id": first["id"]}
    status, compacted = await compact(qwen, **earlier)
    assert status == 200
    assert [item["type"] for item in compacted["output"]] == ["message", "mcp_approval_request", "compaction"]
    assert compacted["output"][1] == request
    given = [*compacted["output"], answer(request["id"], approve=approve)]
    status, second = await qwen.post(input=given, tools=tools)
    assert (status, text_of(second)) == (200, "As you say.")
    assert "SUMMARY" in prompt(qwen)
    assert sums.calls == ([("reset", {})] if approve else [])
    assert ("did not approve" in prompt(qwen)) == (not approve)
    qwen.engine.play(Script("SUMMARY"))
    _, again = await compact(qwen, previous_response_id=second["id"])
    assert of("mcp_approval_request", again) == of("mcp_approval_response", again) == []


async def test_an_approved_call_that_is_still_to_be_made_outlives_it_too(qwen: Stack, sums: Running) -> None:
    tools = [mcp(sums, require_approval="always")]
    qwen.engine.play(Script(*call_of("reset")), Script(), Script("SUMMARY"), Script("Done."))
    _, first = await qwen.post(input="Go", tools=tools)
    given = {"input": [answer(of("mcp_approval_request", first)[0]["id"])], "tools": tools}
    socket = await Socket.open(qwen)
    warmed = check_stream(await socket.ask(**given, previous_response_id=first["id"], generate=False))
    await socket.close()
    _, compacted = await compact(qwen, previous_response_id=warmed["id"])
    status, final = await qwen.post(input=[*compacted["output"], GO], tools=tools)
    assert (status, [call["status"] for call in of("mcp_call", final)]) == (200, ["completed"])
    assert sums.calls == [("reset", {})]


@pytest.mark.parametrize("store", [True, False])
async def test_no_call_is_made_while_only_the_prompt_is_computed(qwen: Stack, sums: Running, store: bool) -> None:
    """The response that goes on from there makes it."""
    tools = [mcp(sums, require_approval="always")]
    socket = await Socket.open(qwen)
    qwen.engine.play(Script(*call_of("reset")), Script(), Script("Done."))
    first = check_stream(await socket.ask(input="Go", tools=tools, store=store))
    given = {"input": [answer(of("mcp_approval_request", first)[0]["id"])], "tools": tools, "store": store}
    warmed = check_stream(await socket.ask(**given, previous_response_id=first["id"], generate=False))
    assert warmed["output"] == []
    assert sums.calls == []
    final = check_stream(await socket.ask(input=[], tools=tools, previous_response_id=warmed["id"], store=store))
    await socket.close()
    assert [item["type"] for item in final["output"]] == ["mcp_call", "message"]
    assert sums.calls == [("reset", {})]


@pytest.mark.parametrize("state", ["response", "conversation"])
async def test_days_may_pass_before_the_answer(
    make_stack: StackFactory, redis: Redis, sums: Running, state: str
) -> None:
    """Nothing is left but what is stored: another front end, another worker, no cache, no log of events."""
    stack = await lossy(make_stack)
    _, conversation = await conversation_of(stack)
    tools = [mcp(sums, require_approval="always")]
    stack.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')))
    where = {"conversation": conversation["id"]} if state == "conversation" else {}
    _, first = await stack.post(input="What is 1 + 2?", tools=tools, **where)
    [request] = of("mcp_approval_request", first)
    await stack.fronts.pop().stop()
    await stack.workers.pop().stop()
    name = conversation["id"]
    if state == "conversation":
        stored = {keys.conversation(name), keys.items(name), keys.order(name)}
    else:
        stored = {keys.response(first["id"])}
    for key in await redis.keys():
        if key.decode() not in stored:
            await redis.delete(key)
    assert {key.decode() for key in await redis.keys()} == stored
    engine = twin(stack.engine, Script(*"It is 3."))
    await stack.add_worker(lambda *_: engine)
    await stack.add_front()
    given = {"input": [answer(request["id"])], "tools": tools}
    status, second = await stack.post(**given, **(where or {"previous_response_id": first["id"]}))
    assert (status, text_of(second)) == (200, "It is 3.")
    [call] = of("mcp_call", second)
    assert (call["approval_request_id"], call["output"]) == (request["id"], "3")
    assert sums.calls == [("add", {"a": 1, "b": 2})]
    assert sums.messages.count("tools/list") == 1
    asked_then = engine.text(engine.requests[0].tokens)
    assert "What is 1 + 2?" in asked_then
    assert '"b": 2' in asked_then


async def test_an_approved_call_is_not_the_one_that_is_demanded(make_stack: StackFactory, sums: Running) -> None:
    stack = await make_stack(
        loader=load_engine,
        allow_remote_mcp=True,
        mcp_allowed_hosts=("127.0.0.1",),
        encryption_key="k",
        temperature=0.0,
    )
    submit = {"type": "function", "name": "submit", "parameters": {"type": "object", "properties": {}}}
    given = [GO, asked("add", '{"a": 1, "b": 2}'), answer()]
    _, response = await stack.post(
        input=given, tools=[submit, mcp(sums)], tool_choice={"type": "function", "name": "submit"}
    )
    assert [item["type"] for item in response["output"] if item["type"] != "reasoning"] == [
        *("mcp_list_tools", "mcp_call", "function_call")
    ]
    assert response["output"][-1]["name"] == "submit"
