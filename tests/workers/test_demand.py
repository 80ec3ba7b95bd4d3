"""What a request asks of each generation of a response that calls remote tools."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.schema.items import McpCall
from shared.schema.mcp import McpListToolsTool
from shared.schema.response import Response
from shared.schema.tools import Tool
from shared.settings import Settings
from workers.demand import demand_of, tools_left
from workers.dialects.toolbox import Toolbox

FUNCTION = {"type": "function", "name": "ask", "parameters": {"type": "object", "properties": {}}}
SERVER = {"type": "mcp", "server_label": "docs", "server_url": "http://docs", "require_approval": "never"}
LISTED = {"docs": [McpListToolsTool(name="add", input_schema={"type": "object", "properties": {}})]}
ONE_OF = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "mcp", "server_label": "docs"}]}


def response(**fields: Any) -> Response:
    required = {"id": "resp_1", "created_at": 0, "model": "m", "temperature": 1.0, "top_p": 1.0, "status": "queued"}
    return msgspec.convert({**required, **fields}, Response)


def toolbox(*tools: Any) -> Toolbox:
    return Toolbox(msgspec.convert(tools, list[Tool]), LISTED)


def call(request: str | None = None) -> McpCall:
    return McpCall(id="mcp_1", server_label="docs", name="add", arguments="{}", approval_request_id=request)


@pytest.mark.parametrize("choice", ["required", {"type": "mcp", "server_label": "docs"}, ONE_OF])
async def test_what_is_demanded_is_a_call_of_the_model_s_own(choice: Any) -> None:
    given, tools = response(tool_choice=choice), toolbox(FUNCTION, SERVER)
    assert (await demand_of(given, [], tools)).must_call
    assert (await demand_of(given, [call("mcpr_1")], tools)).must_call
    assert not (await demand_of(given, [call("mcpr_1"), call()], tools)).must_call


@pytest.mark.parametrize(
    ("limit", "made", "tools", "names", "most"),
    [
        (None, 0, [FUNCTION], {"ask"}, None),
        (2, 0, [FUNCTION], {"ask"}, 2),
        (None, 0, [FUNCTION, SERVER], {"ask", "add"}, 4),
        (2, 1, [FUNCTION, SERVER], {"ask", "add"}, 1),
        (2, 2, [FUNCTION, SERVER], {"ask"}, 2),
        (2, 3, [SERVER], set(), 2),
        (9, 4, [FUNCTION, SERVER], {"ask"}, 9),
        (None, 4, [FUNCTION, SERVER], {"ask"}, None),
    ],
)
def test_remote_calls_count_towards_the_limit_of_remote_tools(
    limit: int | None, made: int, tools: list[Any], names: set[str], most: int | None
) -> None:
    """Approved ones too."""
    said = [call("mcpr_1"), call(), call(), call()][:made]
    left, calls = tools_left(response(max_tool_calls=limit), said, toolbox(*tools), Settings(mcp_max_calls=4))
    assert ({tool.name for tool in left}, calls) == (names, most)


async def test_a_demand_that_no_call_can_meet_any_more_is_none() -> None:
    """The calls that were approved have reached the limit."""
    given = response(tool_choice={"type": "mcp", "server_label": "docs"}, max_tool_calls=1)
    left, most = tools_left(given, [call("mcpr_1")], toolbox(FUNCTION, SERVER), Settings())
    demanded = await demand_of(given, [call("mcpr_1")], left, most)
    assert not demanded.must_call
    assert not demanded.tools
