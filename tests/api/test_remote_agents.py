"""Approvals as `openai-agents` gives them: by a function, or by a person while the run is interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import (
    Agent,
    HostedMCPTool,
    MCPToolApprovalFunctionResult,
    MCPToolApprovalRequest,
    OpenAIResponsesModel,
    Runner,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

from tests.api.test_remote_tools import call_of, mcp, prompt, qwen, sums
from tests.mcp_servers import Running
from tests.stack import MODEL, Stack
from workers.engine.scripted import Script

__all__ = ["qwen", "sums"]

ADD = ("add", {"a": 1, "b": 2})
RESET = ("reset", {})


@pytest.fixture(autouse=True)
def _untraced() -> None:
    set_tracing_disabled(True)


@pytest.fixture
async def client(qwen: Stack) -> AsyncIterator[AsyncOpenAI]:
    async with qwen.client() as client:
        yield client


def agent(client: AsyncOpenAI, tool: HostedMCPTool) -> Agent[None]:
    return Agent(name="Sums", model=OpenAIResponsesModel(MODEL, openai_client=client), tools=[tool])


async def run(asked: Agent[None], given: Any, *, streamed: bool) -> Any:
    """The result of a run."""
    if not streamed:
        return await Runner.run(asked, given)
    running = Runner.run_streamed(asked, given)
    async for _ in running.stream_events():
        pass
    return running


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("allowed", [{"add", "reset"}, {"add"}, set()])
async def test_a_function_that_decides(
    qwen: Stack, client: AsyncOpenAI, sums: Running, allowed: set[str], streamed: bool
) -> None:
    asked: list[str] = []

    async def decide(request: MCPToolApprovalRequest) -> MCPToolApprovalFunctionResult:
        asked.append(request.data.name)
        if request.data.name in allowed:
            return {"approve": True}
        return {"approve": False, "reason": "Not today."}

    tool = HostedMCPTool(tool_config=mcp(sums, require_approval="always"), on_approval_request=decide)  # type: ignore[arg-type]
    qwen.engine.play(Script(*call_of("add", '{"a": 1, "b": 2}'), "\n", *call_of("reset")), Script("So it is."))
    result = await run(agent(client, tool), "Go", streamed=streamed)
    assert result.final_output == "So it is."
    assert sorted(asked) == ["add", "reset"]
    assert sorted(sums.calls) == [call for call in (ADD, RESET) if call[0] in allowed]
    assert prompt(qwen).count("Not today.") == 2 - len(allowed)
    qwen.engine.play(Script("Yes."))  # the whole history again, as the SDK keeps it
    again = await run(
        agent(client, tool), [*result.to_input_list(), {"role": "user", "content": "Sure?"}], streamed=False
    )
    assert again.final_output == "Yes."
    assert len(sums.calls) == len(allowed)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("approve", [True, False])
async def test_a_person_who_decides_later(
    qwen: Stack, client: AsyncOpenAI, sums: Running, approve: bool, streamed: bool
) -> None:
    tool = HostedMCPTool(tool_config=mcp(sums, require_approval="always"))  # type: ignore[arg-type]
    qwen.engine.play(Script(*call_of("reset")), Script("As you say."))
    asking = agent(client, tool)
    interrupted = await run(asking, "Go", streamed=streamed)
    [interruption] = interrupted.interruptions
    assert sums.calls == []
    state = interrupted.to_state()
    (state.approve if approve else state.reject)(interruption)
    assert (await run(asking, state, streamed=streamed)).final_output == "As you say."
    assert sums.calls == ([RESET] if approve else [])
