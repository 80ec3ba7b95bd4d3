"""The operator's limits: each is a setting, each refusal names the place and the limit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import StackFactory
from tests.stack import Stack

USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("setting", "allowed", "refused", "param"),
    [
        ("max_name_length", {"user": "x" * 20}, {"user": "x" * 21}, "user"),
        ("max_name_length", {"prompt_cache_key": "k"}, {"prompt_cache_key": "k" * 21}, "prompt_cache_key"),
        ("max_metadata_pairs", {"metadata": {"a": ""}}, {"metadata": {str(n): "" for n in range(21)}}, "metadata"),
        ("max_metadata_key_length", {"metadata": {"k" * 20: ""}}, {"metadata": {"k" * 21: ""}}, "metadata"),
        ("max_metadata_value_length", {"metadata": {"k": "v" * 20}}, {"metadata": {"k": "v" * 21}}, "metadata.k"),
        ("max_input_items", {"input": [USER] * 20}, {"input": [USER] * 21}, "input"),
    ],
)
async def test_a_limit_is_a_setting(
    make_stack: StackFactory, setting: str, allowed: dict[str, Any], refused: dict[str, Any], param: str
) -> None:
    stack = await make_stack(**{setting: 20})
    assert (await stack.post(**{"input": "Hi", **allowed}))[0] == 200
    status, body = await stack.post(**{"input": "Hi", **refused})
    assert (status, body["error"]["param"]) == (400, param)
    assert "20" in body["error"]["message"]
    assert "21" in body["error"]["message"]


def nested(levels: int) -> dict[str, Any]:
    """An item with so many levels of lists and objects; brackets in its texts are none."""
    value: Any = ['[{"\\"[{']
    for _ in range(levels - 2):
        value = [value]
    return {**USER, "content": "[[[[[[[[[[{{{{\\", "extra": value}


async def test_nesting_is_limited_by_a_setting(make_stack: StackFactory) -> None:
    stack = await make_stack(max_nesting=5)
    assert (await stack.post(input=[USER, nested(5)]))[0] == 200
    status, body = await stack.post(input=[USER, nested(6)])
    assert (status, body["error"]["param"], body["error"]["code"]) == (400, "input[1]", "invalid_value")
    assert "5" in body["error"]["message"]


async def test_a_number_that_json_readers_would_round_is_refused(stack: Stack) -> None:
    for field in ("max_output_tokens", "max_tool_calls"):
        assert (await stack.post(input="Hi", **{field: 2**53 - 1}))[0] == 200
        for number in (2**53, 2**64, 10**30):
            status, body = await stack.post(input="Hi", **{field: number})
            assert (status, body["error"]["param"]) == (400, field)


async def test_an_error_does_not_repeat_a_long_value(stack: Stack) -> None:
    long = "x" * 100_000
    for fields in (
        {"model": long},
        {long: 1},
        {"truncation": long},
        {"input": [{"type": long}]},
        {"tool_choice": long},
    ):
        status, body = await stack.post(**{"input": "Hi", **fields})
        assert status == 400
        assert len(str(body)) < 1000


@pytest.mark.parametrize("name", ["a`b", "x` - at `$.model", 'qu"ote', "a.b", "", "ü"])
async def test_an_odd_unknown_field_is_named_exactly(stack: Stack, name: str) -> None:
    status, body = await stack.post(input="Hi", **{name: 1})
    assert (status, body["error"]["code"]) == (400, "unknown_parameter")
    assert body["error"]["param"] == f'["{name}"]'.replace('qu"', 'qu\\"')


async def test_conversations_have_the_same_limits(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0, max_nesting=5, max_metadata_pairs=1, max_metadata_value_length=20)
    url = stack.url + "/v1/conversations"
    async with stack.http.post(url, json={"items": [nested(5)], "metadata": {"a": "x" * 20}}) as answer:
        assert answer.status == 200
        url_of_it = f"{url}/{(await answer.json())['id']}"
    for path, body, param in (
        (url, {"items": [USER, nested(6)]}, "items[1]"),
        (url_of_it + "/items", {"items": [nested(6)]}, "items[0]"),
        (url, {"metadata": {"a": "", "b": ""}}, "metadata"),
        (url_of_it, {"metadata": {"a": "x" * 21}}, "metadata.a"),
    ):
        async with stack.http.post(path, json=body) as answer:
            assert (answer.status, (await answer.json())["error"]["param"]) == (400, param)
