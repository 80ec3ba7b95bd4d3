"""Tools of remote servers: which of them a request offers, and which need an approval."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.schema.mcp import McpListToolsTool
from shared.schema.tools import McpTool

READS = McpListToolsTool(name="reads", input_schema={}, annotations={"readOnlyHint": True})
WRITES = McpListToolsTool(name="writes", input_schema={})


def tool(**fields: Any) -> McpTool:
    given = {"server_label": "a", "server_url": "http://a", "require_approval": "never", **fields}
    return msgspec.convert(given, McpTool)


@pytest.mark.parametrize(
    ("approval", "asked"),
    [
        ("always", {"reads", "writes"}),
        ("never", set()),
        ({}, {"reads", "writes"}),
        ({"never": {}}, {"reads", "writes"}),
        ({"never": {"tool_names": []}}, {"reads", "writes"}),
        ({"never": {"tool_names": [], "read_only": False}}, {"reads", "writes"}),
        ({"never": {"tool_names": ["writes"]}}, {"reads"}),
        ({"never": {"read_only": True}}, {"writes"}),
        ({"never": {"tool_names": ["writes"], "read_only": True}}, {"reads", "writes"}),
        ({"always": {}}, {"reads", "writes"}),
        ({"always": {"tool_names": ["writes"]}}, {"reads", "writes"}),
        ({"always": {}, "never": {}}, {"reads", "writes"}),
        ({"always": {}, "never": {"tool_names": ["reads"]}}, {"writes"}),
        ({"always": {"tool_names": []}, "never": {"read_only": True}}, {"writes"}),
        ({"always": {"tool_names": ["reads"]}, "never": {"tool_names": ["reads", "writes"]}}, {"reads"}),
        ({"always": {"tool_names": ["writes"]}, "never": {"tool_names": []}}, {"reads", "writes"}),
    ],
)
def test_what_needs_an_approval(approval: Any, asked: set[str]) -> None:
    given = tool(require_approval=approval)
    assert {one.name for one in (READS, WRITES) if given.asks_for(one)} == asked


@pytest.mark.parametrize(
    ("allowed", "offered"),
    [
        (None, {"reads", "writes"}),
        ([], {"reads", "writes"}),
        ({}, {"reads", "writes"}),
        ({"tool_names": []}, {"reads", "writes"}),
        ({"tool_names": [], "read_only": True}, {"reads"}),
        (["writes"], {"writes"}),
    ],
)
def test_what_is_offered(allowed: Any, offered: set[str]) -> None:
    """Where tools are offered, an empty list means all."""
    given = tool(allowed_tools=allowed)
    assert {one.name for one in (READS, WRITES) if given.allows(one)} == offered
