"""Approvals of remote calls: what needs one, what an answer brings about, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.test_remote_tools import call_of, mcp, qwen, sums
from tests.mcp_servers import Running
from tests.stack import Stack
from workers.engine.scripted import Script

__all__ = ["qwen", "sums"]


@pytest.mark.parametrize("never", [{}, {"tool_names": []}])
async def test_a_filter_that_names_no_tool_lets_none_run(qwen: Stack, sums: Running, never: Any) -> None:
    qwen.engine.play(Script(*call_of("reset")))
    _, response = await qwen.post(input="Go", tools=[mcp(sums, require_approval={"never": never})])
    assert response["output"][-1]["type"] == "mcp_approval_request"
    assert sums.calls == []
