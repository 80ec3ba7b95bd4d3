"""`docs/compatibility.md` is complete and true: every field of the SDK has a row, and each row is tried."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from tests.stack import Stack

ROW = re.compile(r"^\| (?P<field>[a-z_]+) \| (?P<status>honoured|ignored|refused) \| .*\|$", re.MULTILINE)
TABLE = (Path(__file__).parent.parent / "docs" / "compatibility.md").read_text().split("\n## Endpoints")[0]
ROWS = {match["field"]: match["status"] for match in ROW.finditer(TABLE)}
FIELDS = {*get_type_hints(ResponseCreateParamsBase), "stream"}

REFUSED: dict[str, Any] = {
    "access_programs": {"cyber": "standard"},
    "background_options": {"completion_window": "soonest"},
    "image": {"context_compression": "auto"},
    "moderation": {"model": "omni-moderation-latest"},
    "prompt": {"id": "pmpt_1"},
}
IGNORED: dict[str, Any] = {
    "prompt_cache_key": "key",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "safety_identifier": "person",
    "service_tier": "flex",
    "user": "person",
}
HONOURED: dict[str, Any] = {
    "background": True,
    "context_management": [{"type": "compaction", "compact_threshold": 100_000}],
    "conversation": None,
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "input": [{"role": "user", "content": "Hi"}],
    "instructions": "Be brief.",
    "max_output_tokens": 5,
    "max_tool_calls": 1,
    "metadata": {"a": "b"},
    "model": "llamarelay/spark",
    "parallel_tool_calls": False,
    "previous_response_id": None,
    "reasoning": {"effort": "low", "summary": "auto"},
    "store": False,
    "stream": False,
    "stream_options": {"include_obfuscation": True},
    "temperature": 0.5,
    "text": {"format": {"type": "json_object"}},
    "tool_choice": "auto",
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}],
    "top_logprobs": 3,
    "top_p": 0.5,
    "truncation": "auto",
}
ECHOED = sorted(
    {"instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "store", "temperature"}
    | {"top_logprobs", "top_p", "truncation", "prompt_cache_key", "safety_identifier", "user"}
)


def test_every_field_of_the_sdk_has_a_row() -> None:
    assert set(ROWS) == FIELDS


def test_every_row_is_tried() -> None:
    tried = {**dict.fromkeys(REFUSED, "refused"), **dict.fromkeys(IGNORED, "ignored")}
    assert {**tried, **dict.fromkeys(HONOURED, "honoured")} == ROWS


@pytest.fixture
async def server(make_stack: Any) -> Stack:
    stack: Stack = await make_stack(encryption_key="a secret")
    return stack


@pytest.mark.parametrize("field", sorted(REFUSED))
async def test_what_is_refused_is_named(server: Stack, field: str) -> None:
    status, body = await server.post(input="Hi", **{field: REFUSED[field]})
    assert (status, body["error"]["param"]) == (400, field)


@pytest.mark.parametrize("field", sorted(IGNORED))
async def test_what_is_ignored_is_accepted(server: Stack, field: str) -> None:
    status, _ = await server.post(input="Hi", **{field: IGNORED[field]})
    assert status == 200


@pytest.mark.parametrize("field", sorted(HONOURED))
async def test_what_is_honoured_is_accepted(server: Stack, field: str) -> None:
    """That each one works is tested by name in tests/api, tests/e2e and tests/workers."""
    value = HONOURED[field]
    if field == "previous_response_id":
        value = (await server.post(input="Hi"))[1]["id"]
    if field == "conversation":
        async with server.http.post(server.url + "/v1/conversations", json={}) as answer:
            value = (await answer.json())["id"]
    status, response = await server.post(**{"input": "Hi", field: value})
    assert status == 200, response
    if field in ECHOED:
        assert response[field] == value
