"""Approvals of remote calls: what needs one, what an answer brings about, and how often."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.test_remote_tools import call_of, mcp, prompt, qwen, sums
from tests.mcp_servers import Running, many_results
from tests.stack import Stack
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
