"""Whether a list that is known holds what a later request allows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.mcp_lists import holds, made_for
from shared.schema.ids import item_id, new_id, response_of
from shared.schema.items import McpListTools
from shared.schema.mcp import McpListToolsTool
from shared.schema.tools import McpTool

ALL = [
    McpListToolsTool(name="reads", input_schema={}, annotations={"readOnlyHint": True}),
    McpListToolsTool(name="writes", input_schema={}),
]
NAMES = {"tool_names": ["writes", "gone"]}


def tool(allowed: Any) -> McpTool:
    given = {"server_label": "a", "server_url": "http://a", "require_approval": "never", "allowed_tools": allowed}
    return msgspec.convert(given, McpTool)


def listed(allowed: Any, response: str = "resp_" + "a" * 48) -> McpListTools:
    """The list that a request gets which allows this."""
    made = tool(allowed)
    held = [one for one in ALL if made.allows(one)]
    return McpListTools(id=item_id("mcpl", response, 0x8000) + made_for(made), server_label="a", tools=held)


@pytest.mark.parametrize("whole", [None, [], {}, {"tool_names": []}])
@pytest.mark.parametrize("wanted", [None, [], {}, ["gone"], {"read_only": True}, {**NAMES, "read_only": False}])
def test_a_list_of_everything_holds_whatever_is_allowed(whole: Any, wanted: Any) -> None:
    assert holds(listed(whole), tool(wanted))


@pytest.mark.parametrize(
    ("made", "wanted", "known"),
    [
        (["reads"], None, False),
        (["reads"], [], False),
        (["reads"], {"tool_names": ["reads"]}, True),
        (["reads", "writes"], ["writes"], True),
        (["reads", "writes"], None, False),  # nobody knows that the server has no more
        (["reads"], {"tool_names": ["reads"], "read_only": True}, True),
        (["gone", "writes"], NAMES, True),
        (["writes"], NAMES, False),
        (NAMES, {**NAMES, "read_only": True}, True),
        ({**NAMES, "read_only": True}, NAMES, False),
        ({"read_only": True}, {"read_only": True}, True),
        ({"read_only": True}, {"read_only": False}, False),
        ({"read_only": True}, {"read_only": True, "tool_names": ["gone"]}, True),
        ({"read_only": True}, ["reads"], True),
        ({"read_only": True}, ["writes"], False),
    ],
)
def test_what_a_list_was_made_to_hold(made: Any, wanted: Any, known: bool) -> None:
    assert holds(listed(made), tool(wanted)) == known


@pytest.mark.parametrize(
    ("wanted", "known"),
    [(None, True), (["reads"], True), (["writes"], False), ({"read_only": True}, True), ({"read_only": False}, False)],
)
def test_a_list_of_another_s_making(wanted: Any, known: bool) -> None:
    given = McpListTools(id="mcpl_68a6", server_label="a", tools=ALL[:1])
    assert holds(given, tool(wanted)) == known


def test_the_id_of_a_list_is_one_of_its_response() -> None:
    response = new_id("resp")
    made = listed(["reads"], response).id
    assert response_of(made) == response
    assert len(made) <= 64
