"""What servers list: silent refusals, odd schemas, more than a context holds. Servers are real, engines scripted."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest
from mcp import MCPError

from tests.api.test_remote_tools import TEMPLATES, call_of, kinds, mcp, prompt, qwen
from tests.conftest import StackFactory
from tests.mcp_servers import listing
from tests.stack import MODEL, Stack
from tests.wire import check_stream, text_of
from workers.engine.scripted import Script, ScriptedEngine

__all__ = ["qwen"]


@pytest.mark.parametrize("message", ["", " \n"])
async def test_a_list_that_is_refused_without_a_word(qwen: Stack, message: str) -> None:
    qwen.engine.play(Script("Without tools, then."))
    async with listing(MCPError(code=-32001, message=message)) as server:
        events = await qwen.stream(input="Go", tools=[mcp(server)])
    final = check_stream(events)
    assert "mcp_list_tools.failed" in kinds(events)
    assert "mcp_list_tools.completed" not in kinds(events)
    assert "-32001" in final["output"][0]["error"]
    assert text_of(final) == "Without tools, then."


def tool(name: str, schema: dict[str, Any] | None = None, description: str = "Looks.") -> types.Tool:
    return types.Tool(name=name, description=description, input_schema=schema or {"type": "object", "properties": {}})


async def stack_of(make_stack: StackFactory, template: str, **changes: Any) -> Stack:
    return await make_stack(
        loader=lambda *_: ScriptedEngine(chat_template=template),
        allow_remote_mcp=True,
        mcp_allowed_hosts=("127.0.0.1",),
        encryption_key="a key for tests",
        **changes,
    )


@pytest.mark.parametrize(
    ("template", "schema"),
    [
        ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", {"properties": {"a": {"type": ["string", "null"]}}}),
        ("ByteDance-Seed-OSS", {"properties": {"a": {"type": "string"}}, "required": None}),
        ("openai-gpt-oss-120b", {"properties": {"a": {"type": "string", "description": 5}}}),
    ],
)
async def test_a_schema_as_servers_send_it(make_stack: StackFactory, template: str, schema: dict[str, Any]) -> None:
    stack = await stack_of(make_stack, (TEMPLATES / f"{template}.jinja").read_text())
    stack.engine.play(Script("I see."))
    known = [
        {"name": "good", "description": "Looks.", "input_schema": {"type": "object"}},
        {"name": "odd", "description": "Looks.", "input_schema": {"type": "object", **schema}},
    ]  # not by a server of the SDK, which would leave null out
    given = [{"type": "mcp_list_tools", "server_label": "docs", "tools": known}, {"role": "user", "content": "Go"}]
    server = {"type": "mcp", "server_label": "docs", "server_url": "http://127.0.0.1:9/mcp"}
    status, response = await stack.post(input=given, tools=[server])
    assert (status, text_of(response)) == (200, "I see."), response
    assert "good" in prompt(stack)
    assert "odd" in prompt(stack)


PICKY = """{%- for tool in tools or [] %}
    {%- if "bad" in tool.function.name %}{{ raise_exception("I take no " ~ tool.function.name) }}{%- endif %}
{%- endfor %}"""


@pytest.fixture
async def picky(make_stack: StackFactory) -> Stack:
    """A stack whose model has a template that refuses tools of some names."""
    return await stack_of(make_stack, PICKY + (TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text())


async def test_a_tool_that_the_template_refuses_is_left_out(picky: Stack) -> None:
    names = ["one", "bad1", "two", "three", "four", "bad2", "five"]
    picky.engine.play(Script(*call_of("three")), Script("Done."))
    async with listing(*map(tool, names)) as server:
        _, response = await picky.post(input="Go", tools=[mcp(server)])
        assert server.calls == [("three", {})]
        more = {"model": MODEL, "input": "More", "previous_response_id": response["id"], "tools": [mcp(server)]}
        async with picky.http.post(picky.url + "/v1/responses/input_tokens", json=more) as answer:
            counted = await answer.json()
        _, second = await picky.post(more)
    assert response["status"] == "completed", response["error"]
    assert text_of(response) == "Done."
    assert [one["name"] for one in response["output"][0]["tools"]] == names
    assert [name for name in names if f'"name": "{name}", "desc' in prompt(picky)] == [
        name for name in names if "bad" not in name
    ]
    assert counted["input_tokens"] == second["usage"]["input_tokens"]


async def test_a_choice_of_a_tool_that_the_template_refuses_ends_the_response(picky: Stack) -> None:
    async with listing(tool("one"), tool("bad")) as server:
        for choice in ({"type": "mcp", "server_label": "docs", "name": "bad"}, "required"):
            final = check_stream(await picky.stream(input="Go", tools=[mcp(server)], tool_choice=choice))
            if choice == "required":
                assert final["status"] == "completed"
            else:
                assert final["status"] == "failed"
                assert "I take no bad" in final["error"]["message"]


async def test_a_function_that_the_template_refuses_is_the_clients_own_affair(picky: Stack) -> None:
    own = {"type": "function", "name": "bad", "parameters": {"type": "object", "properties": {}}}
    async with listing(tool("one"), tool("bad")) as server:
        status, body = await picky.post(input="Go", tools=[own, mcp(server)])
    assert (status, body["error"]["code"]) == (400, "invalid_prompt")
    assert "I take no bad" in body["error"]["message"]


def many(count: int, words: int = 100) -> list[types.Tool]:
    return [tool(f"tool_{n}", description="much about it " * words) for n in range(count)]


async def test_more_tools_than_the_context_holds_are_an_error_of_their_list(qwen: Stack) -> None:
    qwen.engine.play(Script("Without tools, then."), Script(*call_of("tool_7")), Script("Done."))
    async with listing(*many(60)) as server:
        events = await qwen.stream(input="Go", tools=[mcp(server)])
        final = check_stream(events)
        assert "mcp_list_tools.failed" in kinds(events)
        assert final["output"][0]["tools"] == []
        assert "allowed_tools" in final["output"][0]["error"]
        assert text_of(final) == "Without tools, then."
        assert "tool_1" not in prompt(qwen)
        _, few = await qwen.post(input="Go", previous_response_id=final["id"], tools=[mcp(server, allowed_tools=NAMED)])
        assert server.calls == [("tool_7", {})]
    assert [item["type"] for item in few["output"]] == ["mcp_list_tools", "mcp_call", "message"]
    assert [one["name"] for one in few["output"][0]["tools"]] == NAMED


NAMED = ["tool_3", "tool_7"]


async def test_more_text_than_could_be_tokens_is_not_counted(qwen: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0
    tokenize = qwen.engine.tokenize

    def measured(text: str, **options: Any) -> list[int]:
        nonlocal longest
        longest = max(longest, len(text))
        return tokenize(text, **options)

    monkeypatch.setattr(qwen.engine, "tokenize", measured)
    async with listing(*many(60, words=1000)) as server:
        _, response = await qwen.post(input="Go", tools=[mcp(server)])
    assert " bytes, and" in response["output"][0]["error"]
    assert longest < 60 * 1000


async def test_a_demanded_call_of_too_many_tools_ends_the_response(qwen: Stack) -> None:
    async with listing(*many(60)) as server:
        choice: dict[str, Any] = {"type": "mcp", "server_label": "docs"}
        final = check_stream(await qwen.stream(input="Go", tools=[mcp(server)], tool_choice=choice))
        assert final["status"] == "failed"
        assert "allowed_tools" in final["error"]["message"]
    assert qwen.engine.requests == []


async def test_lists_have_room_together(qwen: Stack) -> None:
    """Each alone would have."""
    async with listing(*many(7)) as one, listing(*many(7)) as other:
        _, response = await qwen.post(input="Go", tools=[mcp(one, "one"), mcp(other, "other")])
        _, longer = await qwen.post(input="a word " * 3600, tools=[mcp(one, "one")])
        _, cut = await qwen.post(input="a word " * 3600, tools=[mcp(one, "one")], truncation="auto")
        earlier = {"role": "assistant", "content": "a word " * 3600}
        _, shorter = await qwen.post(
            input=[earlier, {"role": "user", "content": "Go"}], tools=[mcp(one, "one")], truncation="auto"
        )
    assert sorted(item["error"] is None for item in response["output"][:2]) == [False, True]
    assert response["status"] == longer["status"] == "completed"
    assert "the conversation" in longer["output"][0]["error"]  # which has room without the tools
    assert "tool_1" not in prompt(qwen, 1)
    assert "the conversation" in cut["output"][0]["error"]  # of which a question cannot be left out
    assert shorter["output"][0]["error"] is None
    assert "tool_1" in prompt(qwen)
