"""Remote MCP over the wire: lists, calls, approvals, failures, secrets. Servers are real, the engine is scripted."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from redis.asyncio import Redis

from api.remote import RemoteServers
from shared.redis import keys
from shared.settings import Settings, SettingsError
from tests.conftest import StackFactory
from tests.mcp_servers import Running, calculator, documentation_server, listing, many_results, slow_server
from tests.stack import MODEL, Stack
from tests.waiting import until
from tests.wire import Event, check_response, check_stream, text_of
from tests.workers.test_worker import freeze
from workers.engine.scripted import Script, ScriptedEngine

TEMPLATES = Path(__file__).parent.parent / "workers" / "dialects" / "templates"
FETCH = "fetch_tiktoken_documentation"


def call_of(name: str, arguments: str = "{}") -> tuple[str, ...]:
    head = '{"name": "' + name + '", "arguments": '
    return ("<tool_call>", "\n", head, *arguments, "}", "\n", "</tool_call>")


def mcp(server: Running, label: str = "docs", **fields: Any) -> dict[str, Any]:
    return {"type": "mcp", "server_label": label, "server_url": server.url, **fields}


@pytest.fixture
async def qwen(make_stack: StackFactory) -> Stack:
    """A stack whose model has Qwen3's template, and whose operator allows servers on this machine."""
    return await make_stack(
        loader=lambda *_: ScriptedEngine(chat_template=(TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()),
        allow_remote_mcp=True,
        mcp_allowed_hosts=("127.0.0.1",),
        encryption_key="a key for tests",
    )


@pytest.fixture
async def docs() -> AsyncIterator[Running]:
    async with documentation_server() as server:
        yield server


@pytest.fixture
async def sums() -> AsyncIterator[Running]:
    async with calculator() as server:
        yield server


def prompt(stack: Stack, number: int = -1) -> str:
    return stack.engine.text(stack.engine.requests[number].tokens)


def kinds(events: list[Event]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events if not event["type"].endswith(".delta")]


async def test_list_call_and_answer_stream_in_the_recorded_order(qwen: Stack, docs: Running) -> None:
    qwen.engine.play(Script(*call_of(FETCH)), Script("It is a tokenizer."))
    events = await qwen.stream(input="What is tiktoken?", tools=[mcp(docs, allowed_tools=[FETCH])])
    final = check_stream(events)
    assert kinds(events) == [
        *("created", "in_progress"),
        *("output_item.added", "mcp_list_tools.in_progress", "mcp_list_tools.completed", "output_item.done"),
        *("output_item.added", "mcp_call.in_progress", "mcp_call_arguments.done"),
        *("mcp_call.completed", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ]
    listed, called, message = final["output"]
    assert [tool["name"] for tool in listed["tools"]] == [FETCH]
    assert (listed["id"][:5], called["id"][:4]) == ("mcpl_", "mcp_")
    assert (called["name"], called["arguments"], called["server_label"]) == (FETCH, "{}", "docs")
    assert called["output"].startswith("# ")
    assert called["status"] == "completed"
    assert called["error"] is None
    assert text_of(final) == "It is a tokenizer."
    assert message["type"] == "message"
    assert called["output"].strip()[:40] in prompt(qwen)
    assert [name for name, _ in docs.calls] == [FETCH]


async def test_arguments_stream_as_they_are_generated(qwen: Stack, sums: Running) -> None:
    qwen.engine.play(Script(*call_of("add", '{"a": 2, "b": 40}')), Script("42"))
    events = await qwen.stream(input="2 + 40?", tools=[mcp(sums)])
    check_stream(events)
    deltas = [event["delta"] for event in events if event["type"] == "response.mcp_call_arguments.delta"]
    assert len(deltas) > 1
    assert json.loads("".join(deltas)) == {"a": 2, "b": 40}
    assert sums.calls == [("add", {"a": 2, "b": 40})]


async def test_usage_counts_every_generation(qwen: Stack, sums: Running) -> None:
    call = call_of("add", '{"a": 1, "b": 1}')
    qwen.engine.play(Script(*call), Script("two"))
    _, response = await qwen.post(input="1 + 1?", tools=[mcp(sums)])
    first, second = (len(request.tokens) for request in qwen.engine.requests)
    assert response["usage"]["input_tokens"] == first + second
    assert response["usage"]["output_tokens"] == len(call) + 1 + 2  # and an end token each


async def test_parallel_calls_run_at_once(qwen: Stack) -> None:
    async with slow_server() as slow:
        qwen.engine.play(Script(*call_of("wait"), "\n", *call_of("quick")), Script("both"))
        stream = asyncio.create_task(qwen.stream(input="Go", tools=[mcp(slow)]))
        await until(lambda: len(slow.calls) == 2)
        slow.release.set()
        final = check_stream(await stream)
    _, wait, quick, _ = final["output"]
    assert (wait["output"], quick["output"]) == ("waited", "quick")


async def test_a_list_in_the_context_is_not_asked_for_again(qwen: Stack, sums: Running) -> None:
    qwen.engine.play(Script("Hello."), Script("Again."))
    _, first = await qwen.post(input="Hi", tools=[mcp(sums)])
    _, second = await qwen.post(input="Hi again", previous_response_id=first["id"], tools=[mcp(sums)])
    assert [item["type"] for item in first["output"]] == ["mcp_list_tools", "message"]
    assert [item["type"] for item in second["output"]] == ["message"]
    assert sums.messages.count("tools/list") == 1
    assert '"name": "add"' in prompt(qwen)
    _, stateless = await qwen.post(
        input=[{"role": "user", "content": "Hi"}, *first["output"], {"role": "user", "content": "More"}],
        tools=[mcp(sums)],
        store=False,
    )
    assert [item["type"] for item in stateless["output"]] == ["message"]
    assert sums.messages.count("tools/list") == 1


MISSING = ["add", "nonexistent"]


@pytest.mark.parametrize("mode", ["chain", "conversation", "stateless"])
@pytest.mark.parametrize(
    ("filters", "lists", "offered"),
    [
        ([MISSING, MISSING, MISSING], [1, 0, 0], {"add"}),
        ([["add"], None, ["reset"]], [1, 1, 0], {"reset"}),
        ([["add"], None], [1, 1], {"add", "reset"}),
        ([["reset"], {"read_only": True}, {"read_only": True}], [1, 1, 0], {"add"}),
        ([None, ["add"], {"read_only": False}, MISSING, []], [1, 0, 0, 0, 0], {"add", "reset"}),
    ],
)
async def test_a_list_is_asked_for_again_where_more_is_allowed(
    qwen: Stack, sums: Running, mode: str, filters: list[Any], lists: list[int], offered: set[str]
) -> None:
    given: list[Any] = []
    fields: dict[str, Any] = {"store": mode != "stateless"}
    if mode == "conversation":
        async with qwen.http.post(qwen.url + "/v1/conversations", json={}) as made:
            fields["conversation"] = (await made.json())["id"]
    for allowed, asked in zip(filters, lists, strict=True):
        given.append({"role": "user", "content": "Hi"})
        text = given if mode == "stateless" else "Hi"
        status, response = await qwen.post(input=text, tools=[mcp(sums, allowed_tools=allowed)], **fields)
        assert status == 200, response
        check_response(response)
        assert [item["type"] for item in response["output"]].count("mcp_list_tools") == asked
        given += response["output"]
        if mode == "chain":
            fields["previous_response_id"] = response["id"]
    assert sums.messages.count("tools/list") == sum(lists)
    assert {name for name in ("add", "reset") if f'"name": "{name}"' in prompt(qwen)} == offered


@pytest.mark.parametrize("item_id", [None, "mcpl_of_another_maker"])
async def test_a_demanded_call_of_a_tool_that_the_known_list_was_not_to_hold(
    qwen: Stack, sums: Running, item_id: str | None
) -> None:
    """Also where nothing tells what the list was made for."""
    _, first = await qwen.post(input="Hi", tools=[mcp(sums, allowed_tools={"read_only": True})])
    item = {**first["output"][0], "id": item_id or first["output"][0]["id"]}
    status, second = await qwen.post(
        input=[item, {"role": "user", "content": "Go"}],
        tools=[mcp(sums, allowed_tools={"read_only": False})],
        tool_choice="required",
    )
    assert (status, second["status"]) == (200, "completed")
    assert [tool["name"] for tool in second["output"][0]["tools"]] == ["reset"]
    assert '"name": "reset"' in prompt(qwen)


@pytest.mark.parametrize(
    ("allowed", "offered"),
    [
        (["add"], {"add"}),
        ([], {"add", "reset"}),
        (None, {"add", "reset"}),
        ({"tool_names": ["reset"]}, {"reset"}),
        ({"read_only": True}, {"add"}),
        ({"read_only": False}, {"reset"}),
        ({"tool_names": ["reset"], "read_only": True}, set()),
    ],
)
async def test_allowed_tools(qwen: Stack, sums: Running, allowed: Any, offered: set[str]) -> None:
    _, response = await qwen.post(input="Hi", tools=[mcp(sums, allowed_tools=allowed)])
    check_response(response)
    assert {tool["name"] for tool in response["output"][0]["tools"]} == offered
    assert {name for name in ("add", "reset") if f'"name": "{name}"' in prompt(qwen)} == offered


async def test_a_function_call_ends_the_response(qwen: Stack, sums: Running) -> None:
    function = {"type": "function", "name": "ask", "parameters": {"type": "object", "properties": {}}}
    qwen.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}'), "\n", *call_of("ask")), Script("Done."))
    tools = [function, mcp(sums)]
    events = await qwen.stream(input="Go", tools=tools)
    final = check_stream(events)
    assert [item["type"] for item in final["output"]] == ["mcp_list_tools", "mcp_call", "function_call"]
    assert final["output"][1]["output"] == "3"
    answer = {"type": "function_call_output", "call_id": final["output"][2]["call_id"], "output": "yes"}
    _, second = await qwen.post(input=[answer], previous_response_id=final["id"], tools=tools)
    assert text_of(second) == "Done."
    assert "yes" in prompt(qwen)


async def test_several_servers_with_the_same_names(qwen: Stack, sums: Running) -> None:
    async with calculator() as other:
        qwen.engine.play(
            Script(*call_of("add", '{"a": 1, "b": 2}')),
            Script(*call_of("other__add", '{"a": 3, "b": 4}')),
            Script("3 and 7"),
        )
        final = check_stream(await qwen.stream(input="Go", tools=[mcp(sums, "one"), mcp(other, "other")]))
        assert other.calls == [("add", {"a": 3, "b": 4})]
    labels = [(item["server_label"], item["name"]) for item in final["output"] if item["type"] == "mcp_call"]
    assert labels == [("one", "add"), ("other", "add")]


async def test_max_tool_calls_over_the_whole_response(qwen: Stack, sums: Running) -> None:
    once = call_of("add", '{"a": 1, "b": 2}')
    qwen.engine.play(Script(*once), Script(*once), Script("enough"))
    final = check_stream(await qwen.stream(input="Go", tools=[mcp(sums)], max_tool_calls=2))
    assert [item["type"] for item in final["output"]] == ["mcp_list_tools", "mcp_call", "mcp_call", "message"]
    assert len(sums.calls) == 2
    assert '"name": "add", "description"' not in prompt(qwen)  # nothing is offered any more


@pytest.mark.parametrize("limits", [{"max_tool_calls": 1}, {}])
async def test_the_limit_of_remote_calls_leaves_functions(
    make_stack: StackFactory, sums: Running, limits: dict[str, Any]
) -> None:
    stack = await make_stack(
        loader=lambda *_: ScriptedEngine(chat_template=(TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()),
        allow_remote_mcp=True,
        mcp_allowed_hosts=("127.0.0.1",),
        mcp_max_calls=32 if limits else 1,
        encryption_key="k",
    )
    function = {"type": "function", "name": "ask", "parameters": {"type": "object", "properties": {}}}
    stack.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')), Script(*call_of("ask")))
    final = check_stream(await stack.stream(input="Go", tools=[function, mcp(sums)], **limits))
    assert [item["type"] for item in final["output"]] == ["mcp_list_tools", "mcp_call", "function_call"]
    offered = [{name for name in ("add", "ask") if f'"name": "{name}", "desc' in prompt(stack, n)} for n in (0, 1)]
    assert offered == [{"add", "ask"}, {"ask"}]


async def test_the_servers_own_limit_of_calls(make_stack: StackFactory, sums: Running) -> None:
    template = (TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()
    once = call_of("add", '{"a": 1, "b": 2}')

    def answer(request: Any) -> Script:
        return Script(*once) if '"name": "add", "description"' in stack.engine.text(request.tokens) else Script("end")

    stack = await make_stack(
        loader=lambda *_: ScriptedEngine(answer, chat_template=template),
        allow_remote_mcp=True,
        mcp_allowed_hosts=("127.0.0.0/8",),
        mcp_max_calls=3,
        encryption_key="k",
    )
    final = check_stream(await stack.stream(input="Go", tools=[mcp(sums)]))
    assert text_of(final) == "end"
    assert len(sums.calls) == 3


# tool_choice


async def test_a_demanded_call_is_demanded_once(qwen: Stack, sums: Running) -> None:
    qwen.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')), Script("3"))
    final = check_stream(await qwen.stream(input="Go", tools=[mcp(sums)], tool_choice="required"))
    first, second = (request.constraint for request in qwen.engine.requests)
    assert first is not None
    assert text_of(final) == "3"
    assert second is not None


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "mcp", "server_label": "nobody"}, "tool_choice.server_label"),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "nobody"}]},
            "tool_choice.tools[0].server_label",
        ),
    ],
)
async def test_a_choice_of_no_server_is_refused(qwen: Stack, sums: Running, choice: Any, param: str) -> None:
    status, body = await qwen.post(input="Go", tools=[mcp(sums)], tool_choice=choice)
    assert (status, body["error"]["param"]) == (400, param)


def required(*tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "mode": "required", "tools": list(tools)}


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"type": "mcp", "server_label": "docs", "name": "subtract"}, "no tool 'subtract' to call"),
        (required({"type": "mcp", "server_label": "docs", "name": "subtract"}), "no tool to call"),
    ],
)
async def test_a_choice_of_a_tool_that_the_server_lacks(
    qwen: Stack, sums: Running, choice: dict[str, Any], words: str
) -> None:
    """It is the request's error, so that nobody tries again, and it says which tools there are."""
    given = {"input": "Go", "tools": [mcp(sums), mcp(sums, "other")], "tool_choice": choice}
    final = check_stream(await qwen.stream(**given))
    assert (final["status"], final["error"]["code"]) == ("failed", "invalid_prompt")
    status, body = await qwen.post(**given)
    assert status == 400
    for message in (final["error"]["message"], body["error"]["message"]):
        assert f"{words}: the MCP server 'docs' offers 'add', 'reset'." in message
    assert qwen.engine.requests == []


@pytest.mark.parametrize("fails", [True, False])
async def test_a_list_that_failed_counts_where_its_tools_are_demanded(qwen: Stack, sums: Running, fails: bool) -> None:
    """Then to try again may help."""
    gone = {"type": "mcp", "server_label": "gone", "server_url": "http://127.0.0.1:1/mcp"}
    wanted = {"type": "mcp", "server_label": "docs", "name": "subtract"}
    choice = required(wanted, {"type": "mcp", "server_label": "gone"}) if fails else wanted
    status, body = await qwen.post(input="Go", tools=[mcp(sums), gone], tool_choice=choice)
    assert status == (500 if fails else 400)
    assert ("'gone' could not be listed" in body["error"]["message"]) == fails


async def test_a_demand_of_a_server_that_offers_none(qwen: Stack) -> None:
    async with listing() as empty:
        status, body = await qwen.post(input="Go", tools=[mcp(empty)], tool_choice="required")
    assert status == 400
    assert "the MCP server 'docs' offers none." in body["error"]["message"]


async def test_of_many_tools_some_are_named(qwen: Stack) -> None:
    choice = {"type": "mcp", "server_label": "docs", "name": "subtract"}
    async with listing(*(types.Tool(name=f"t{n}", input_schema={"type": "object"}) for n in range(25))) as many:
        _, body = await qwen.post(input="Go", tools=[mcp(many)], tool_choice=choice)
    assert "'t18', 't19', and 5 more." in body["error"]["message"]


@pytest.mark.parametrize("name", ["", 3])
async def test_a_name_that_can_be_no_tools_is_refused(qwen: Stack, sums: Running, name: Any) -> None:
    wanted = {"type": "mcp", "server_label": "docs", "name": name}
    status, body = await qwen.post(input="Go", tools=[mcp(sums)], tool_choice=required(wanted))
    assert (status, body["error"]["param"]) == (400, "tool_choice.tools[0].name")
    status, body = await qwen.post(input="Go", tools=[mcp(sums)], tool_choice=wanted)
    assert status == 400
    assert body["error"]["param"].startswith("tool_choice")
    assert sums.requests == []


# approvals


async def test_an_approved_call_begins_the_next_response(qwen: Stack, sums: Running) -> None:
    tools = [mcp(sums, require_approval="always")]
    qwen.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')), Script("It is 3."))
    first = check_stream(await qwen.stream(input="1 + 2?", tools=tools))
    assert [item["type"] for item in first["output"]] == ["mcp_list_tools", "mcp_approval_request"]
    request = first["output"][1]
    assert request["id"].startswith("mcpr_")
    assert json.loads(request["arguments"]) == {"a": 1, "b": 2}
    assert sums.calls == []
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
    second = check_stream(await qwen.stream(input=[answer], previous_response_id=first["id"], tools=tools))
    call, message = second["output"]
    assert (call["type"], call["approval_request_id"], call["output"]) == ("mcp_call", request["id"], "3")
    assert message["type"] == "message"
    assert sums.calls == [("add", {"a": 1, "b": 2})]
    assert sums.messages.count("tools/list") == 1
    third, body = await qwen.post(input=[answer], previous_response_id=second["id"], tools=tools)
    assert third == 400
    assert "answered already" in body["error"]["message"]


async def test_an_approval_without_state(qwen: Stack, sums: Running) -> None:
    tools = [mcp(sums, require_approval={"never": {"tool_names": ["reset"]}})]
    qwen.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')), Script("It is 3."))
    _, first = await qwen.post(input="1 + 2?", tools=tools, store=False)
    request = first["output"][-1]
    history = [{"role": "user", "content": "1 + 2?"}, *first["output"]]
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
    status, second = await qwen.post(input=[*history, answer], tools=tools, store=False)
    assert status == 200, second
    assert second["output"][0]["output"] == "3"
    assert text_of(second) == "It is 3."
    history += [answer, *second["output"], {"role": "user", "content": "Thanks"}]
    qwen.engine.play(Script("Welcome."))
    status, third = await qwen.post(input=history, tools=tools, store=False)
    assert status == 200, third
    assert text_of(third) == "Welcome."
    assert len(sums.calls) == 1


async def test_a_refused_call_is_told_to_the_model(qwen: Stack, sums: Running) -> None:
    tools = [mcp(sums, require_approval="always")]
    qwen.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')), Script("As you wish."))
    _, first = await qwen.post(input="1 + 2?", tools=tools)
    request = first["output"][-1]
    answer = {
        "type": "mcp_approval_response",
        "approval_request_id": request["id"],
        "approve": False,
        "reason": "too expensive",
    }
    _, second = await qwen.post(input=[answer], previous_response_id=first["id"])  # no tool is needed for a no
    assert text_of(second) == "As you wish."
    assert "did not approve" in prompt(qwen)
    assert "too expensive" in prompt(qwen)
    assert sums.calls == []


async def test_an_approval_needs_its_request_and_its_server(qwen: Stack, sums: Running) -> None:
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    status, body = await qwen.post(input=[answer], tools=[mcp(sums)])
    assert (status, body["error"]["param"]) == (400, "input[0].approval_request_id")
    qwen.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')))
    _, first = await qwen.post(input="1 + 2?", tools=[mcp(sums, require_approval="always")])
    answer["approval_request_id"] = first["output"][-1]["id"]
    status, body = await qwen.post(input=[answer], previous_response_id=first["id"])
    assert (status, body["error"]["param"]) == (400, "tools")


async def test_the_operator_may_ask_for_approvals(make_stack: StackFactory, sums: Running) -> None:
    template = (TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()
    stack = await make_stack(
        loader=lambda *_: ScriptedEngine(chat_template=template),
        allow_remote_mcp=True,
        mcp_allowed_hosts=("127.0.0.1",),
        mcp_require_approval="always",
        encryption_key="k",
    )
    stack.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')))
    _, response = await stack.post(input="1 + 2?", tools=[mcp(sums)])
    assert response["output"][-1]["type"] == "mcp_approval_request"
    assert response["tools"][0]["require_approval"] == "always"


# failures


async def test_a_failing_tool_is_an_error_the_model_hears_of(qwen: Stack) -> None:
    async with many_results() as server:
        qwen.engine.play(Script(*call_of("fails_in_parts")), Script("It failed."))
        final = check_stream(await qwen.stream(input="Go", tools=[mcp(server)]))
    _, call, message = final["output"]
    assert (call["status"], call["error"]["type"], call["output"]) == ("failed", "mcp_tool_execution_error", None)
    assert "The tool failed: one\ntwo" in prompt(qwen)
    assert message["type"] == "message"


async def test_a_wrong_token_is_an_error_without_the_token(qwen: Stack) -> None:
    async with documentation_server(token="right") as server:
        final = check_stream(await qwen.stream(input="Go", tools=[mcp(server, authorization="wrong-token-1")]))
    assert "401" in final["output"][0]["error"]
    assert "wrong-token-1" not in json.dumps(final)


async def test_a_server_that_is_gone(qwen: Stack, sums: Running) -> None:
    _, first = await qwen.post(input="Hi", tools=[mcp(sums)])
    await sums.stop()
    qwen.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}')), Script("I cannot reach it."))
    final = check_stream(await qwen.stream(input="1 + 2?", previous_response_id=first["id"], tools=[mcp(sums)]))
    call = final["output"][0]
    assert (call["status"], call["error"]["type"]) == ("failed", "http_error")
    assert final["status"] == "completed"
    assert text_of(final) == "I cannot reach it."


async def test_a_list_that_fails_is_told_and_the_model_goes_on(qwen: Stack, sums: Running) -> None:
    await sums.stop()
    qwen.engine.play(Script("Without tools, then."))
    events = await qwen.stream(input="Hi", tools=[mcp(sums)])
    final = check_stream(events)
    assert "mcp_list_tools.failed" in kinds(events)
    assert final["output"][0]["error"]
    assert text_of(final) == "Without tools, then."


@pytest.mark.parametrize("choice", ["required", {"type": "mcp", "server_label": "docs"}])
async def test_a_list_that_fails_where_a_call_is_demanded(qwen: Stack, sums: Running, choice: Any) -> None:
    await sums.stop()
    final = check_stream(await qwen.stream(input="Hi", tools=[mcp(sums)], tool_choice=choice))
    assert final["status"] == "failed"
    assert "docs" in final["error"]["message"]


async def test_a_cancelled_response_cancels_the_call(qwen: Stack) -> None:
    async with slow_server() as slow:
        qwen.engine.play(Script(*call_of("wait")))
        stream = asyncio.create_task(qwen.stream(input="Go", tools=[mcp(slow)]))
        await slow.started.wait()
        async with qwen.client() as client:
            await client.responses.cancel(qwen.engine.requests[0].id)
        final = check_stream(await stream)
        async with asyncio.timeout(20):
            await slow.cancelled.wait()
    assert final["status"] == "cancelled"
    assert final["output"][-1]["status"] == "incomplete"


async def test_a_running_tool_holds_no_slot(make_stack: StackFactory) -> None:
    stack = await lossy(make_stack, slots=1)
    async with slow_server() as slow:
        stack.engine.play(Script(*call_of("wait")), Script("meanwhile"), Script("after"))
        first = asyncio.create_task(stack.post(input="Go", tools=[mcp(slow)]))
        await slow.started.wait()
        _, second = await stack.post(input="Hi")
        assert text_of(second) == "meanwhile"
        slow.release.set()
        assert text_of((await first)[1]) == "after"


async def test_only_so_many_jobs_wait_without_a_slot(make_stack: StackFactory) -> None:
    stack = await lossy(make_stack, slots=1, mcp_jobs_aside=2)
    worker = stack.workers[0]._workers[f"{MODEL}@q8_0"]
    async with slow_server() as slow:
        stack.engine.play(*(Script(*call_of("wait")) for _ in range(3)), *(Script("done") for _ in range(8)))
        calling = [asyncio.create_task(stack.post(input="Go", tools=[mcp(slow)])) for _ in range(3)]
        await until(lambda: len(slow.calls) == 3)
        others = [asyncio.create_task(stack.post(input="Hi", background=True)) for _ in range(5)]
        assert [status for status, _ in await asyncio.gather(*others)] == [200] * 5
        await worker._poll_iteration()
        assert (worker.running, worker.aside, worker.has_room) == (3, 2, False)
        slow.release.set()
        assert [text_of(response) for _, response in await asyncio.gather(*calling)] == ["done"] * 3
        await until(lambda: len(stack.engine.requests) == 3 + 3 + 5)


# what is refused, and what is kept secret


async def test_it_is_off_unless_the_operator_allows_it(stack: Stack) -> None:
    tool = {"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp"}
    status, body = await stack.post(input="Hi", tools=[tool])
    assert (status, body["error"]["param"], body["error"]["code"]) == (400, "tools[0]", "unsupported_tool")
    assert "ALLOW_REMOTE_MCP" in body["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"server_url": "http://10.0.0.1/mcp"}, "tools[0].server_url"),
        ({"server_url": "http://169.254.169.254/latest"}, "tools[0].server_url"),
        ({"server_url": "http://0x7f000001/mcp"}, "tools[0].server_url"),
        ({"server_url": "file:///etc/passwd"}, "tools[0].server_url"),
        ({"server_url": "http://user:secretpassword@127.0.0.1/mcp"}, "tools[0].server_url"),
        ({"server_url": None}, "tools[0].server_url"),
        ({"connector_id": "connector_gmail"}, "tools[0].connector_id"),
        ({"tunnel_id": "t"}, "tools[0].tunnel_id"),
        ({"server_label": "a b"}, "tools[0].server_label"),
        ({"server_label": ""}, "tools[0].server_label"),
        ({"headers": {"Host": "elsewhere"}}, "tools[0]"),
        ({"headers": {"X-A": "secret\r\nX-B: 1"}}, "tools[0]"),
        ({"headers": {"Authorization": "Basic secret"}, "authorization": "secret"}, "tools[0].authorization"),
        ({"require_approval": "sometimes"}, "tools[0].require_approval"),
    ],
)
async def test_what_is_wrong_is_refused_with_its_place(
    qwen: Stack, docs: Running, fields: dict[str, Any], param: str
) -> None:
    status, body = await qwen.post(input="Hi", tools=[{**mcp(docs), **fields}])
    assert (status, body["error"]["param"]) == (400, param), body
    assert "secret" not in json.dumps(body)


async def test_a_label_means_one_server(qwen: Stack, docs: Running, sums: Running) -> None:
    status, body = await qwen.post(input="Hi", tools=[mcp(docs), mcp(sums)])
    assert (status, body["error"]["param"]) == (400, "tools[1].server_label")


async def test_there_may_not_be_too_many_servers(qwen: Stack, docs: Running) -> None:
    status, body = await qwen.post(input="Hi", tools=[mcp(docs, f"s{n}") for n in range(33)])
    assert (status, body["error"]["param"]) == (400, "tools")


def test_an_approval_setting_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="MCP_REQUIRE_APPROVAL"):
        RemoteServers(Settings(mcp_require_approval="allways"))


async def test_secrets_reach_the_server_and_nothing_else(
    qwen: Stack, redis: Redis, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    token, key, query = "tok-5f1c9d-5f1c9d", "key-77aa31-77aa31", "query-deadbeef-deadbeef"
    async with slow_server(token=token) as server:
        tool = mcp(server, authorization=token, headers={"X-Key": key})
        tool["server_url"] += f"?id={query}"
        qwen.engine.play(Script(*call_of("wait")), Script("Read."))
        stream = asyncio.create_task(qwen.stream(input="Read it", tools=[tool]))
        await server.started.wait()
        during = await everything(redis)
        server.release.set()
        events = await stream
    final = check_stream(events)
    assert text_of(final) == "Read."
    assert final["tools"][0]["server_url"].endswith("/<redacted>")
    assert final["tools"][0]["headers"] is None
    assert "authorization" not in final["tools"][0]
    assert all(request.headers["authorization"] == f"Bearer {token}" for request in server.requests)
    assert all(request.headers["x-key"] == key for request in server.requests)
    assert all(query in request.path for request in server.requests)
    told = json.dumps(events) + during + await everything(redis) + caplog.text + "".join(capfd.readouterr())
    assert "mcp_servers" in during
    assert "mcp_servers" not in await everything(redis)
    for secret in (token, key, query):
        assert secret not in told


async def everything(redis: Redis) -> str:
    """All that Redis holds, as text."""
    found: list[str] = []
    async for key in redis.scan_iter():
        found.append(repr(key))
        match (await redis.type(key)).decode():
            case "hash":
                found.append(repr(await redis.hgetall(key)))
            case "stream":
                found.append(repr(await redis.xrange(key)))
            case "string":
                found.append(repr(await redis.get(key)))
            case "list":
                found.append(repr(await redis.lrange(key, 0, -1)))
            case "zset":
                found.append(repr(await redis.zrange(key, 0, -1)))
            case "set":
                found.append(repr(await redis.smembers(key)))
    return "\n".join(found)


# workers that are lost


def spelled(name: str, arguments: str = "{}") -> tuple[str, ...]:
    """A call in tokens that every scripted engine knows, grammars included."""
    return ("<tool_call>", *f'\n{{"name": "{name}", "arguments": {arguments}}}\n', "</tool_call>")


CALL = len(spelled("reset"))


async def test_a_finished_call_is_not_made_twice(make_stack: StackFactory, redis: Redis, sums: Running) -> None:
    """The worker is lost in the generation that follows the call."""
    stack = await lossy(make_stack)
    stack.engine.play(Script(*spelled("reset")), Script(*"It is", asyncio.Event()))
    stream = asyncio.create_task(stack.stream(input="Forget", tools=[mcp(sums)]))
    await until(lambda: len(stack.engine.requests) == 2 and stack.engine.stats.generated_tokens == CALL + 5)
    [response] = {request.id for request in stack.engine.requests}
    await until_said(redis, response, b'"delta":"s"')
    await freeze(stack)
    engine = twin(stack.engine, Script(*" done."))
    await stack.add_worker(lambda *_: engine)
    final = check_stream(await stream)
    assert text_of(final) == "It is done."
    assert [name for name, _ in sums.calls] == ["reset"]
    [request] = engine.requests
    assert request.generated == 5
    first, second = stack.engine.requests
    assert request.tokens[: len(second.tokens)] == second.tokens
    assert final["usage"]["input_tokens"] == len(first.tokens) + len(second.tokens)
    assert final["usage"]["output_tokens"] == CALL + 1 + len("It is done.") + 1


@pytest.mark.parametrize(("tool", "again"), [("look", True), ("change", False)])
async def test_a_running_call_is_made_again_only_where_that_is_harmless(
    make_stack: StackFactory, tool: str, again: bool
) -> None:
    stack = await lossy(make_stack)
    async with slow_server() as slow:
        stack.engine.play(Script(*spelled(tool)))
        stream = asyncio.create_task(stack.stream(input="Go", tools=[mcp(slow)]))
        await slow.started.wait()
        await freeze(stack)
        engine = twin(stack.engine, Script(*"So be it."))
        await stack.add_worker(lambda *_: engine)
        await until(lambda: len(slow.calls) == 2 if again else bool(engine.requests))
        slow.release.set()
        final = check_stream(await stream)
    call = final["output"][1]
    assert (call["status"] == "completed") == again
    assert len(slow.calls) == 1 + again
    if not again:
        assert "may have run" in call["error"]["message"]
    assert text_of(final) == "So be it."


async def test_a_call_lost_half_written_is_written_on(make_stack: StackFactory, redis: Redis, sums: Running) -> None:
    stack = await lossy(make_stack)
    pieces = spelled("add", '{"a": 1, "b": 2}')
    stack.engine.play(Script(*pieces[:-12], asyncio.Event()))
    stream = asyncio.create_task(stack.stream(input="Go", tools=[mcp(sums)]))
    await until(lambda: stack.engine.stats.generated_tokens == len(pieces) - 12)
    await until_said(redis, stack.engine.requests[0].id, b"mcp_call_arguments.delta")
    await freeze(stack)
    engine = twin(stack.engine, lambda request: Script(*pieces[request.generated :]), Script(*"3"))
    await stack.add_worker(lambda *_: engine)
    final = check_stream(await stream)
    assert final["output"][1]["arguments"] == '{"a": 1, "b": 2}'
    assert sums.calls == [("add", {"a": 1, "b": 2})]
    assert text_of(final) == "3"


async def lossy(make_stack: StackFactory, **changes: Any) -> Stack:
    return await make_stack(
        loader=lambda *_: ScriptedEngine(chat_template=(TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()),
        allow_remote_mcp=True,
        mcp_allowed_hosts=("127.0.0.1",),
        encryption_key="a key for tests",
        poll_seconds=0.1,
        **changes,
    )


def twin(engine: ScriptedEngine, *scripts: Any) -> ScriptedEngine:
    """Another worker's engine with the same vocabulary."""
    other = ScriptedEngine(chat_template=engine.model.chat_template)
    other._pieces, other._ids = list(engine._pieces), dict(engine._ids)
    other.play(*scripts)
    return other


async def until_said(redis: Redis, response_id: str, what: bytes) -> None:
    """Returns when the log has an event with `what`."""
    async with asyncio.timeout(10):
        while not any(what in fields[b"e"] for _, fields in await redis.xrange(keys.events(response_id))):
            await asyncio.sleep(0.005)


async def test_a_server_whose_name_is_not_answered_holds_up_nobody_else(
    make_stack: StackFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = await lossy(make_stack, mcp_connect_seconds=600.0)
    answer = threading.Event()
    slow = _slow_names(monkeypatch, lambda: answer.wait(90))
    servers = [{"type": "mcp", "server_label": f"s{n}", "server_url": f"http://n{n}.tarpit.example/"} for n in range(3)]
    function = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}
    hostile = [asyncio.create_task(stack.post(input="Hi", tools=servers)) for _ in range(20)]
    try:
        await until(lambda: len(slow) >= 6)
        async with asyncio.timeout(30):
            status, response = await stack.post(input="Hi", tools=[function])
        assert status == 200, response
        assert not any(task.done() for task in hostile)
    finally:
        answer.set()
        for task in hostile:
            task.cancel()
        await asyncio.gather(*hostile, return_exceptions=True)


async def test_servers_of_one_request_are_checked_at_once(
    make_stack: StackFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = await make_stack(allow_remote_mcp=True, encryption_key="a key for tests")
    together = threading.Barrier(3)
    slow = _slow_names(monkeypatch, lambda: together.wait(60))
    servers = [{"type": "mcp", "server_label": f"s{n}", "server_url": f"http://n{n}.tarpit.example/"} for n in range(3)]
    status, response = await stack.post(input="Hi", tools=servers)
    assert (status, response["error"]["param"]) == (400, response["error"]["message"].partition(":")[0])
    assert response["error"]["message"].endswith("is not among those that MCP servers may be at (MCP_ALLOWED_HOSTS).")
    assert (sorted(slow), together.broken) == ([f"n{n}.tarpit.example" for n in range(3)], False)


def _slow_names(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> list[str]:
    """Names below tarpit.example are private ones, and are answered when `wait` returns; returns those asked for."""
    asked: list[str] = []
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **fields: Any) -> Any:
        if not str(host).endswith("tarpit.example"):
            return original(host, port, *args, **fields)
        asked.append(host)
        wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked
