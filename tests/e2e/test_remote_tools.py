"""Remote MCP as a user meets it: `llamarelay up --allow-mcp`, the demo model, a real server on this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import jsonschema
import pytest
from agents import Agent, HostedMCPTool, ModelSettings, OpenAIResponsesModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI

from tests.e2e.server import MODEL, Up
from tests.e2e.test_announcement import curl
from tests.mcp_servers import Running, documentation_server
from tests.wire import check_response, check_stream, parse_sse, text_of

QUESTION = "What is the first sentence of the tiktoken documentation?"
SENTENCE = "tiktoken is a fast [BPE](https://en.wikipedia.org/wiki/Byte_pair_encoding) tokeniser for use with"
FETCH = "fetch_tiktoken_documentation"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up-mcp")
    with Up(folder, "--allow-mcp", environ={"MCP_ALLOWED_HOSTS": "public,127.0.0.1"}) as server:
        yield server


@pytest.fixture
async def docs() -> AsyncIterator[Running]:
    async with documentation_server() as server:
        yield server


async def test_the_announcements_example(up: Up, docs: Running) -> None:
    """Verbatim but for host, model and the server's address."""
    body = f"""{{
      "model": "{MODEL}",
      "tools": [{{
        "type": "mcp",
        "server_label": "tiktoken",
        "server_url": "{docs.url}",
        "allowed_tools": ["{FETCH}"]
      }}],
      "input": "{QUESTION}"
    }}"""
    response = json.loads(await curl(f"{up.url}/v1/responses", body))
    check_response(response)
    listed, *_, call, message = [item for item in response["output"] if item["type"] != "reasoning"]
    assert [tool["name"] for tool in listed["tools"]] == [FETCH]
    assert (call["name"], call["status"], call["error"]) == (FETCH, "completed", None)
    assert message["type"] == "message"
    assert "tiktoken is a fast" in text_of(response)
    assert docs.calls == [(FETCH, {})]


async def test_it_streams(up: Up, docs: Running) -> None:
    body = {
        "model": MODEL,
        "stream": True,
        "temperature": 0,
        "tools": [{"type": "mcp", "server_label": "tiktoken", "server_url": docs.url, "allowed_tools": [FETCH]}],
        "input": QUESTION,
    }
    final = check_stream(parse_sse(await curl(f"{up.url}/v1/responses", json.dumps(body))))
    assert SENTENCE in text_of(final)


async def test_the_second_generation_reads_the_question_from_the_cache(client: AsyncOpenAI, docs: Running) -> None:
    """No other request has this question, so the first generation finds no more in the cache than what stands before
    it: that may be in the cache for both."""
    tool = {"type": "mcp", "server_label": "tiktoken", "server_url": docs.url, "allowed_tools": [FETCH]}
    short, question = ("Go on.", "Go on. " + " ".join(f"My note {n} is about {n * n} pears." for n in range(60)))

    async def ask(text: str) -> tuple[int, int]:
        """Tokens of both generations' prompts, and how many of them were in the cache."""
        response = await client.responses.create(
            model=MODEL,
            input=text,
            tools=[tool],  # type: ignore[list-item]
            tool_choice="required",
            reasoning={"effort": "none"},
            temperature=0,
            max_output_tokens=100,
        )
        assert [item.type for item in response.output][:2] == ["mcp_list_tools", "mcp_call"]
        assert response.usage
        return response.usage.input_tokens, response.usage.input_tokens_details.cached_tokens

    tokens, _ = await ask(short)
    longer, cached = await ask(question)
    extra = (longer - tokens) // 2  # the question's, which both prompts have
    assert extra > tokens  # more than all that another request can have left in the cache
    assert cached > extra


@pytest.fixture
async def client(up: Up) -> AsyncIterator[AsyncOpenAI]:
    async with up.async_sdk() as sdk:
        yield sdk


async def test_the_sdk_approves_a_call(client: AsyncOpenAI, docs: Running) -> None:
    tool = {"type": "mcp", "server_label": "tiktoken", "server_url": docs.url, "allowed_tools": [FETCH]}
    tool["require_approval"] = "always"
    first = await client.responses.create(model=MODEL, input=QUESTION, tools=[tool], temperature=0)  # type: ignore[list-item]
    request = next(item for item in first.output if item.type == "mcp_approval_request")
    assert docs.calls == []
    second = await client.responses.create(
        model=MODEL,
        previous_response_id=first.id,
        input=[{"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}],
        tools=[tool],  # type: ignore[list-item]
        temperature=0,
    )
    call = second.output[0]
    assert call.type == "mcp_call"
    assert call.approval_request_id == request.id
    assert SENTENCE in second.output_text


@pytest.mark.parametrize("streamed", [False, True])
async def test_openai_agents_hosted_mcp_tool(client: AsyncOpenAI, docs: Running, streamed: bool) -> None:
    set_tracing_disabled(True)
    hosted = HostedMCPTool(
        tool_config={
            "type": "mcp",
            "server_label": "tiktoken",
            "server_url": docs.url,
            "allowed_tools": [FETCH],
            "require_approval": "never",
        }
    )
    agent = Agent(
        name="Reader",
        model=OpenAIResponsesModel(MODEL, openai_client=client),
        model_settings=ModelSettings(temperature=0),
        tools=[hosted],
    )
    if streamed:
        running = Runner.run_streamed(agent, QUESTION)
        async for _ in running.stream_events():
            pass
        output = running.final_output
    else:
        output = (await Runner.run(agent, QUESTION)).final_output
    assert SENTENCE in output
    assert docs.calls == [(FETCH, {})]


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "mcp", "server_label": "tiktoken", "name": "search_tiktoken_documentation"},
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "mcp", "server_label": "tiktoken", "name": "search_tiktoken_documentation"}],
        },
    ],
)
async def test_a_chosen_tool_is_called_whatever_is_asked(
    client: AsyncOpenAI, docs: Running, choice: dict[str, object]
) -> None:
    response = await client.responses.create(
        model=MODEL,
        input="Hello",
        tools=[{"type": "mcp", "server_label": "tiktoken", "server_url": docs.url}],
        tool_choice=choice,  # type: ignore[arg-type]
        temperature=0,
        max_output_tokens=2000,
    )
    [call] = [item for item in response.output if item.type == "mcp_call"]
    assert call.name == "search_tiktoken_documentation"
    assert list(json.loads(call.arguments)) == ["query"]  # its schema demands it
    assert response.output[-1].type == "message"


async def test_an_answer_by_a_schema_behind_a_call(client: AsyncOpenAI, docs: Running) -> None:
    properties = {"sentence": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["sentence"], "additionalProperties": False}
    for choice in ("auto", "required"):
        response = await client.responses.create(
            model=MODEL,
            input=QUESTION,
            tools=[{"type": "mcp", "server_label": "tiktoken", "server_url": docs.url, "allowed_tools": [FETCH]}],
            tool_choice=choice,  # type: ignore[call-overload]
            text={"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": schema}},
            temperature=0,
            max_output_tokens=1000,
        )
        kinds = [item.type for item in response.output if item.type != "reasoning"]
        assert kinds == ["mcp_list_tools", "mcp_call", "message"]
        assert response.status == "completed"
        jsonschema.validate(json.loads(response.output_text), schema)
    assert docs.calls == [(FETCH, {})] * 2


async def test_a_harmony_model_calls_and_answers(client: AsyncOpenAI, docs: Running) -> None:
    response = await client.responses.create(
        model="llamarelay/spark-oss",
        input=QUESTION,
        tools=[{"type": "mcp", "server_label": "tiktoken", "server_url": docs.url, "allowed_tools": [FETCH]}],
        temperature=0,
    )
    kinds = [item.type for item in response.output if item.type != "reasoning"]
    assert kinds == ["mcp_list_tools", "mcp_call", "message"]
    assert "tiktoken is a fast" in response.output_text
    assert docs.calls == [(FETCH, {})]
