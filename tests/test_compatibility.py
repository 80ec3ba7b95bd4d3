"""`docs/compatibility.md` is complete and true: read next to the SDK's types, checked against a running server."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from openai.resources.conversations import Conversations, Items
from openai.resources.models import Models
from openai.resources.responses import InputItems, InputTokens, Responses
from openai.types.responses import ResponseInputItem, ResponseOutputItem, ResponseStreamEvent, Tool
from openai.types.responses import response_create_params as params
from openai.types.responses.response_text_config_param import ResponseTextConfigParam
from openai.types.shared_params.reasoning import Reasoning
from pydantic import BaseModel

from shared.schema import events
from shared.schema.request import CreateResponse
from tests.conftest import StackFactory
from tests.stack import MODEL, Stack

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "compatibility.md"
COLUMNS = ["kind", "name", "status", "example", "in a line", "test"]
STATUSES = {
    "field": {"honoured", "ignored", "refused"},
    "endpoint": {"honoured", "refused"},
    "tool": {"honoured", "ignored", "refused"},
    "item": {"honoured", "refused"},
    "event": {"honoured", "never sent"},
}
NESTED = {
    "reasoning": Reasoning,
    "text": ResponseTextConfigParam,
    "stream_options": params.StreamOptions,
    "prompt_cache_options": params.PromptCacheOptions,
}
"""Fields whose fields have rows of their own."""
RESOURCES = (Responses, InputItems, InputTokens, Conversations, Items, Models)


@dataclass(frozen=True)
class Row:
    kind: str
    name: str
    status: str
    example: str
    line: str
    test: str


def _rows() -> Iterator[Row]:
    table = TABLE.read_text().split("| kind |")[1].split("\n\n")[0]
    lines = ("| kind |" + table).splitlines()
    header, _, *body = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    assert header == COLUMNS
    for cells in body:
        assert len(cells) == len(COLUMNS), cells
        kind, name, status, example, line, test = cells
        yield Row(kind, name.strip("`"), status, example.strip("`").replace("\\|", "|"), line, test.strip("`"))


ROWS = list(_rows())


def rows(kind: str, *statuses: str) -> list[Any]:
    """The rows of a kind, as parameters of a test that are called by their names."""
    chosen = [row for row in ROWS if row.kind == kind and (not statuses or row.status in statuses)]
    return [pytest.param(row, id=row.name) for row in chosen]


def _models(union: Any) -> list[type[BaseModel]]:
    """The classes of a union of the SDK's."""
    if isinstance(union, type) and issubclass(union, BaseModel):
        return [union]
    return [model for part in get_args(union) for model in _models(part)]


def _literals(annotation: Any) -> list[str]:
    if "Literal" in str(get_origin(annotation)):
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in _literals(part)]


def types_of(union: Any) -> set[str]:
    """What `type` may be in a union of the SDK's."""
    return {kind for model in _models(union) for kind in _literals(model.model_fields["type"].annotation)}


def fields_of_the_sdk() -> set[str]:
    names = set(get_type_hints(params.ResponseCreateParamsStreaming))
    for field, kind in NESTED.items():
        names |= {f"{field}.{name}" for name in get_type_hints(kind)}
    return names


def endpoints_of_the_sdk() -> set[str]:
    """`METHOD /path` of every call that the SDK's resources make."""
    call = re.compile(r"self\._(get_api_list|get|post|delete)\(\s*(?:path_template\(\s*)?f?\"(/[^\"]*)\"")
    found = {match for resource in RESOURCES for match in call.findall(inspect.getsource(resource))}
    return {f"{'GET' if method == 'get_api_list' else method.upper()} {path}" for method, path in found}


SDK = {
    "field": fields_of_the_sdk(),
    "endpoint": endpoints_of_the_sdk(),
    "tool": types_of(Tool),
    "item": types_of(ResponseInputItem) | types_of(ResponseOutputItem),
    "event": types_of(ResponseStreamEvent),
}
ECHOED = {"instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "store"} | {
    *("background", "temperature", "top_logprobs", "top_p", "truncation", "reasoning.effort", "reasoning.summary"),
}
"""Honoured fields that the response repeats as they were sent; of others the line says so."""
NOT_IN_THE_SDK = {"field": {"client_metadata"}}


@pytest.mark.parametrize("kind", SDK)
def test_everything_the_sdk_knows_has_one_row(kind: str) -> None:
    assert len(SDK[kind]) >= 10
    names = [row.name for row in ROWS if row.kind == kind]
    assert len(names) == len(set(names))
    assert set(names) == SDK[kind] | NOT_IN_THE_SDK.get(kind, set())


def test_every_field_we_read_has_a_row() -> None:
    names = {row.name for row in ROWS if row.kind == "field"}
    assert set(CreateResponse.__struct_fields__) <= names


def test_rows_are_well_formed() -> None:
    for row in ROWS:
        assert row.status in STATUSES[row.kind], row
        assert row.kind != "field" or json.loads(row.example) is not None, row


def test_what_is_honoured_has_a_test() -> None:
    for row in ROWS:
        assert bool(row.test) == (row.status == "honoured"), row
        if row.test:
            file, _, name = row.test.partition("::")
            assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), row


def test_events_are_sent_or_not_as_their_rows_say() -> None:
    ours = {kind.__struct_config__.tag for kind in vars(events).values() if isinstance(kind, type) and _is_event(kind)}
    assert {row.name for row in ROWS if row.kind == "event" and row.status == "honoured"} == ours


def _is_event(kind: type) -> bool:
    return issubclass(kind, events.Event) and kind.__struct_config__.tag != kind.__name__  # else one to inherit from


@pytest.fixture
async def server(make_stack: StackFactory) -> Stack:
    return await make_stack(encryption_key="a secret of the deployment", allow_remote_mcp=True)


async def body_with(stack: Stack, row: Row) -> dict[str, Any]:
    """A request that has the row's field."""
    example = row.example
    if "{response}" in example:
        example = example.replace("{response}", (await stack.post(input="Hi"))[1]["id"])
    if "{conversation}" in example:
        async with stack.http.post(stack.url + "/v1/conversations") as answer:
            example = example.replace("{conversation}", (await answer.json())["id"])
    field, _, inner = row.name.partition(".")
    value = json.loads(example)
    return {"model": MODEL, "input": "Hi", field: {inner: value} if inner else value}


@pytest.mark.parametrize("row", rows("field", "honoured", "ignored"))
async def test_the_field_is_accepted(server: Stack, row: Row) -> None:
    body = await body_with(server, row)
    async with server.http.post(server.url + "/v1/responses", json=body) as answer:
        assert answer.status == 200, await answer.text()
        response = {} if row.name == "stream" else await answer.json()
    if row.name in ECHOED or row.line.startswith("echoed"):
        field, _, inner = row.name.partition(".")
        assert (response[field][inner] if inner else response[field]) == json.loads(row.example)


@pytest.mark.parametrize("row", rows("field", "refused"))
async def test_the_field_is_refused_by_its_name(server: Stack, row: Row) -> None:
    for body in (await body_with(server, row), {**await body_with(server, row), "stream": True}):
        status, answer = await server.post(body)
        assert (status, answer["error"]["code"]) == (400, "unsupported_parameter")
        assert answer["error"]["param"] == row.name


async def answer_to(stack: Stack, **fields: Any) -> tuple[int, str | None]:
    """The status, and the place that an error names."""
    status, answer = await stack.post(**{"input": "Hi", **fields})
    return status, answer["error"]["param"] if status == 400 else None


@pytest.mark.parametrize("row", rows("tool"))
async def test_the_tool_is_treated_as_its_row_says(server: Stack, row: Row) -> None:
    tool = {"type": row.name}
    if row.status == "honoured":
        function = {"type": "function", "name": "f"}
        nobody = {"server_label": "none", "server_url": "http://192.0.2.1.invalid/mcp"}  # no such host
        tool |= {"name": "n", **({"tools": [function]} if row.name == "namespace" else {})}
        tool |= nobody if row.name == "mcp" else {}
    status, answer = await server.post(input="Hi", tools=[tool])
    if row.status == "refused":
        assert (status, answer["error"]["param"]) == (400, "tools[0]")
        assert len(answer["error"]["message"]) > 10
    else:
        assert status == 200, answer
        assert bool(answer["tools"]) == (row.status == "honoured")


@pytest.mark.parametrize("row", rows("item"))
async def test_the_item_is_known_or_refused_as_its_row_says(server: Stack, row: Row) -> None:
    status, answer = await server.post(input=[{"type": row.name}])
    assert status == 400  # it lacks what such an item needs
    assert (answer["error"]["param"] == "input[0].type") == (row.status == "refused"), answer


@pytest.mark.parametrize("row", rows("endpoint"))
async def test_the_endpoint_is_there_or_not_as_its_row_says(server: Stack, row: Row) -> None:
    method, _, path = row.name.partition(" ")
    path = re.sub(r"\{\w+\}", "none", path)
    async with asyncio.timeout(20), server.http.request(method, f"{server.url}/v1{path}", data=b"{}") as answer:
        code = None if answer.status == 200 else (await answer.json())["error"]["code"]
        assert (code in ("unknown_url", "method_not_allowed")) == (row.status == "refused"), await answer.text()
