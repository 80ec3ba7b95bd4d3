"""What servers list: silent refusals, odd schemas, more than a context holds. Servers are real, the engine is scripted."""

from __future__ import annotations

import pytest
from mcp import MCPError

from tests.api.test_remote_tools import kinds, mcp, qwen
from tests.mcp_servers import listing
from tests.stack import Stack
from tests.wire import check_stream, text_of
from workers.engine.scripted import Script

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
