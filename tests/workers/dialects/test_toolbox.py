"""Tools under the names that the model sees: those of remote servers beside the client's own."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from shared.schema.mcp import McpListToolsTool
from shared.schema.tools import (
    AllowedTools,
    ApprovalFilter,
    FunctionChoice,
    FunctionTool,
    McpChoice,
    McpTool,
    McpToolFilter,
    NamespaceTool,
)
from tests.workers.dialects.samples import SAMPLES, Sample, items
from tests.workers.dialects.walks import MARKERS, vocabulary, walk
from workers.dialects.toolbox import Toolbox
from workers.grammar.grammars import Grammars, demand

VOCABULARY = vocabulary(MARKERS, words=["n" * 32, "f" * 32, "k" * 30])


def server(label: str = "docs", **fields: Any) -> McpTool:
    fields.setdefault("require_approval", "never")
    return McpTool(server_label=label, server_url="https://example.com", **fields)


def listed(name: str, **fields: Any) -> McpListToolsTool:
    return McpListToolsTool(name=name, input_schema=fields.pop("input_schema", {"type": "object"}), **fields)


def described(tools: Toolbox) -> list[str]:
    return [tool["function"]["description"] for tool in tools.for_template()]


def test_a_remote_tool_keeps_its_name_where_no_other_has_it() -> None:
    tools = Toolbox(
        [server("one"), FunctionTool(name="read"), server("two")],
        {"one": [listed("read"), listed("list")], "two": [listed("list")]},
    )
    assert [(tool.name, tool.server) for tool in tools] == [
        ("read", None),
        ("one__read", "one"),
        ("list", "one"),
        ("two__list", "two"),
    ]
    assert tools.name_of("list", "two", remote=True) == "two__list"
    assert tools.name_of("read", None) == "read"
    assert tools.name_of("gone", "two", remote=True) == "gone"


def test_a_name_that_no_call_format_can_hold_is_written_otherwise() -> None:
    [tool] = Toolbox([server()], {"docs": [listed("files.read/all")]})
    assert (tool.name, tool.tool.name) == ("files_read_all", "files.read/all")


def test_a_remote_schema_is_kept_as_far_as_a_grammar_can_hold_it() -> None:
    fine = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    pattern = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)y"}}, "required": ["a"]}
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}}
    given = {"a": fine, "b": pattern, "c": {"type": "string"}, "d": deep}
    tools = Toolbox([server()], {"docs": [listed(name, input_schema=schema) for name, schema in given.items()]})
    assert tools.loose
    kept = [tool.parameters for tool in tools.holdable()]
    assert kept[0] == fine
    assert kept[1] == {**pattern, "properties": {"a": {"type": "string"}}}
    assert [schema["type"] for schema in kept] == ["object"] * 4
    assert [tool.parameters["properties"] for tool in tools][1] == pattern["properties"]  # the model is told all


def test_the_servers_description_is_read_with_its_tools() -> None:
    tools = Toolbox([server(server_description="Our wiki.")], {"docs": [listed("read", description="Reads.")]})
    assert described(tools) == ["Reads.\n\nOur wiki."]


def test_the_servers_description_is_written_once() -> None:
    """Also where a choice leaves out the tool it stood with."""
    wiki, plain = server("wiki", server_description="Our wiki."), server("plain")
    names = ["one", "two", "three"]
    given = {label: [listed(f"{label}_{name}", description=name) for name in names] for label in ("wiki", "plain")}
    tools = Toolbox([FunctionTool(name="own", description="own"), wiki, plain], given)
    about = "About all tools of wiki: Our wiki."
    assert described(tools) == ["own", f"one\n\n{about}", "two", "three", *names]
    assert described(tools.holdable()) == described(tools)
    assert described(tools.only(list(tools)[2:4])) == [f"two\n\n{about}", "three"]


def test_approvals_by_filter() -> None:
    asks = ApprovalFilter(never=McpToolFilter(read_only=True), always=McpToolFilter(tool_names=["both"]))
    tools = Toolbox(
        [server(require_approval=asks)],
        {
            "docs": [
                listed("look", annotations={"readOnlyHint": True}),
                listed("both", annotations={"readOnlyHint": True}),
                listed("change"),
            ]
        },
    )
    assert {tool.name: tool.needs_approval for tool in tools} == {"look": False, "both": True, "change": True}


def test_a_choice_of_a_server_or_of_one_of_its_tools() -> None:
    tools = Toolbox([server(), FunctionTool(name="read")], {"docs": [listed("read"), listed("list")]})

    def chosen(choice: Any) -> list[str]:
        return [tool.name for tool in demand(tools, choice).tools]

    assert chosen(McpChoice(server_label="docs")) == ["docs__read", "list"]
    assert chosen(McpChoice(server_label="docs", name="read")) == ["docs__read"]
    assert chosen(FunctionChoice(name="read")) == ["read"]
    both = [{"type": "function", "name": "read"}, {"type": "mcp", "server_label": "docs", "name": "list"}]
    assert chosen(AllowedTools(mode="auto", tools=both)) == ["read", "list"]


def test_names_that_no_call_can_hold_are_written_alike_offered_or_not() -> None:
    server = McpTool(server_label="s", server_url="https://s", require_approval="never")
    names = ["a.b c", "", "ok"]
    tools = Toolbox([server], {"s": [McpListToolsTool(name=name, input_schema={}) for name in names]})
    written = [tools.name_of(name, "s", remote=True) for name in names]
    assert written == ["a_b_c", "_", "ok"]
    assert [Toolbox().name_of(name, "s", remote=True) for name in names] == written


def test_a_servers_long_name_is_cut_and_told_from_its_like() -> None:
    names = ["a" * 600 + end for end in ("1", "2")]
    tools = Toolbox([server()], {"docs": [listed(name) for name in names]})
    assert [len(tool.name) for tool in tools] == [128, 128]
    assert len({tool.name for tool in tools}) == 2
    assert [tool.tool.name for tool in tools] == names
    assert [Toolbox().name_of(name, "docs", remote=True) for name in names] == [tool.name for tool in tools]


@pytest.mark.parametrize(
    "sample", {sample.dialect.name: sample for sample in SAMPLES}.values(), ids=lambda s: s.dialect.name
)
def test_a_call_of_the_longest_name_is_read(sample: Sample) -> None:
    """128 characters each, as many as may be."""
    name, key = "f" * 128, "k" * 300
    parameters = {"type": "object", "properties": {key: {"const": 1}}, "required": [key], "additionalProperties": False}
    tools = Toolbox([NamespaceTool(name="n" * 128, tools=[FunctionTool(name=name, parameters=parameters)])])
    demanded = demand(tools, "required", parallel=False)
    constraint = Grammars(VOCABULARY).constraint(sample.dialect, demanded, sample.tail)
    assert constraint is not None
    output = walk(constraint, VOCABULARY, random.Random(1))
    assert output is not None
    parser = sample.dialect.parser(sample.tail, tools, sure=True)
    calls = [item for item in items(parser.feed(output) + parser.finish()) if item[0] == "call"]
    assert [(called, json.loads(arguments)) for _, called, arguments in calls] == [("n" * 128 + "__" + name, {key: 1})]
