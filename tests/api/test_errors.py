"""Every refusal: a clear 4xx in OpenAI's envelope that names the place, before a stream begins."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from workers.engine.scripted import ScriptedEngine

USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": 3}, "input", "invalid_type"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content", "invalid_type"),
        ({"input": [USER, {"role": "nobody", "content": "Hi"}]}, "input[1].role", "invalid_value"),
        ({"input": [{"content": "Hi"}]}, "input[0].role", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0].type", "invalid_value"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type", None),
        (
            {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
            "input[0].content[0].type",
            "invalid_value",
        ),
        ({"input": [{"type": "teapot"}]}, "input[0].type", "invalid_value"),
        ({}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "missing_required_parameter"),
        ({"input": "Hi", "temperature": 2.5}, "temperature", "invalid_value"),
        ({"input": "Hi", "temperature": "hot"}, "temperature", "invalid_type"),
        ({"input": "Hi", "top_p": -0.1}, "top_p", "invalid_value"),
        ({"input": "Hi", "max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"input": "Hi", "max_output_tokens": 1.5}, "max_output_tokens", "invalid_type"),
        ({"input": "Hi", "stream": "yes"}, "stream", "invalid_type"),
        ({"input": "Hi", "reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_value"),
        ({"input": "Hi", "metadata": {"b": "", "a": 1}}, "metadata.a", "invalid_type"),
        ({"input": "Hi", "metadata": {"a b": None}}, 'metadata["a b"]', "invalid_type"),
        ({"input": "Hi", "metadata": {str(n): "" for n in range(17)}}, "metadata", "object_above_max_properties"),
        ({"input": "Hi", "metadata": {"a": "x" * 513}}, "metadata.a", "string_above_max_length"),
        ({"input": "Hi", "metadata": {"k" * 65: "x"}}, "metadata", "string_above_max_length"),
        ({"input": "Hi", "teapot": 1}, "teapot", "unknown_parameter"),
        ({"input": "Hi", "include": ["everything"]}, "include[0]", "invalid_value"),
        ({"input": "Hi", "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"input": [{"type": "item_reference", "id": "msg_none"}]}, "input[0].id", "item_not_found"),
        ({"input": "Hi", "previous_response_id": "resp_none"}, "previous_response_id", "previous_response_not_found"),
    ],
)
async def test_a_wrong_field_is_named(stack: Stack, fields: dict[str, Any], param: str, code: str | None) -> None:
    for stream in (False, True):
        status, body = await stack.post(**{"stream": stream, **fields})
        assert status == (404 if code == "item_not_found" else 400)
        error = body["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert error["param"] == param
        assert code is None or error["code"] == code
        assert len(error["message"]) > 10


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b'{"input": NaN}', b'{"input": "\\ud800"}', b"\xff\xfe", b"{'a': 1}", b"null"]
)
async def test_a_body_that_is_no_json_object_is_a_400(stack: Stack, body: bytes) -> None:
    async with stack.http.post(stack.url + "/v1/responses", data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] in ("invalid_json", "invalid_type")


async def test_deep_nesting_is_a_400(stack: Stack) -> None:
    for body in (
        b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"input": [' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"]}",
    ):
        async with stack.http.post(stack.url + "/v1/responses", data=body) as answer:
            assert answer.status == 400
            await answer.json()


async def test_an_unknown_model_is_a_404_that_names_what_there_is(stack: Stack) -> None:
    status, body = await stack.post(model="llamarelay/teapot", input="Hi")
    assert status == 404
    assert (body["error"]["code"], body["error"]["param"]) == ("model_not_found", "model")
    assert "llamarelay/spark" in body["error"]["message"]


async def test_a_model_that_is_no_name_is_refused(stack: Stack) -> None:
    status, body = await stack.post(model=7, input="Hi")
    assert (status, body["error"]["param"]) == (400, "model")


async def test_without_workers_a_request_is_a_503_with_retry_after(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0)
    async with stack.http.post(stack.url + "/v1/responses", json={"model": MODEL, "input": "Hi"}) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert (await answer.json())["error"]["code"] == "no_worker"


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(make_stack: StackFactory) -> None:
    engine = ScriptedEngine(context_length=5000)
    stack = await make_stack(loader=lambda *_: engine)
    framing = len("Suser\nE\nSassistant\n")  # a marker is one token
    for stream in (False, True):
        status, body = await stack.post(input="x" * 6000, stream=stream)
        assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
        assert "5000" in body["error"]["message"]
        assert str(6000 + framing) in body["error"]["message"]
    assert engine.requests == []
    status, response = await stack.post(input="x" * 4200)
    assert (status, response["usage"]["input_tokens"]) == (200, 4200 + framing)
    status, body = await stack.post(input="x" * 1000, previous_response_id=response["id"])
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")


async def test_a_body_over_the_limit_is_a_413(make_stack: StackFactory) -> None:
    stack = await make_stack(max_body_bytes=1000)
    status, body = await stack.post(input="x" * 2000)
    assert (status, body["error"]["code"]) == (413, "body_too_large")


async def test_too_many_items_are_a_400(make_stack: StackFactory) -> None:
    stack = await make_stack(max_input_items=2)
    status, body = await stack.post(input=[USER] * 3)
    assert (status, body["error"]["param"]) == (400, "input")


async def test_unknown_paths_and_methods_have_the_envelope(stack: Stack) -> None:
    status, body = await stack.get("/v1/teapots")
    assert (status, body["error"]["code"]) == (404, "unknown_url")
    async with stack.http.put(stack.url + "/v1/responses") as answer:
        assert answer.status == 405
        assert "POST" in answer.headers["Allow"]
        assert (await answer.json())["error"]["code"] == "method_not_allowed"


async def test_an_unknown_response_is_a_404(stack: Stack) -> None:
    for method, query in (("GET", ""), ("GET", "?stream=true"), ("DELETE", "")):
        async with stack.http.request(method, f"{stack.url}/v1/responses/resp_none{query}") as answer:
            assert answer.status == 404
            assert "resp_none" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize("query", ["stream=perhaps", "stream=true&starting_after=x"])
async def test_a_wrong_query_is_a_400(stack: Stack, query: str) -> None:
    _, response = await stack.post(input="Hi")
    status, _ = await stack.get(f"/v1/responses/{response['id']}?{query}")
    assert status == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"include": ["reasoning.encrypted_content"]},  # without an ENCRYPTION_KEY
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(stack: Stack, fields: dict[str, Any]) -> None:
    status, body = await stack.post(input="Hi", **fields)
    assert (status, body["error"]["code"]) == (400, "unsupported_parameter")
    assert next(iter(fields)) in body["error"]["param"]


async def test_neutral_values_of_every_field_are_accepted(stack: Stack) -> None:
    neutral = {
        "background": False,
        "include": [],
        "tools": [],
        "tool_choice": "auto",
        "truncation": "disabled",
        "parallel_tool_calls": True,
        "service_tier": "auto",
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "stream_options": {"include_obfuscation": False},
        "top_logprobs": 0,
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "conversation": None,
        "instructions": None,
    }
    status, response = await stack.post(input="Hi", **neutral)
    assert status == 200, response
    assert (response["safety_identifier"], response["prompt_cache_key"]) == ("s", "k")
    assert response["text"]["verbosity"] == "low"


async def test_after_every_error_the_next_good_request_works(stack: Stack) -> None:
    for _ in range(3):
        await stack.post(body={"nonsense": json.loads("[" * 50 + "]" * 50)})
    status, _ = await stack.post(input="Hi")
    assert status == 200


async def test_every_answer_has_a_request_id(stack: Stack) -> None:
    seen = set()
    for path in ("/healthz", "/v1/models", "/v1/nothing"):
        async with stack.http.get(stack.url + path) as answer:
            seen.add(answer.headers["X-Request-Id"])
    async with stack.http.post(
        stack.url + "/v1/responses", json={"model": MODEL, "input": "Hi", "stream": True}
    ) as answer:
        seen.add(answer.headers["X-Request-Id"])
        await answer.read()
    assert len(seen) == 4


async def test_a_model_that_cannot_be_loaded_fails_clearly_and_others_serve_on(make_stack: StackFactory) -> None:
    from pathlib import Path

    from shared.catalog import Catalog
    from workers.engine.core import Engine, ModelLoadError
    from workers.models import served

    def load(path: Path, *_: object) -> Engine:
        if "F16" in path.name:
            raise ModelLoadError(path, "the tensors are torn")
        return ScriptedEngine()

    stack = await make_stack(workers=0)
    catalog = Catalog(stack.settings.models_dir, {})
    await stack.add_worker(load, served(catalog, ("llamarelay/spark@q8_0", "llamarelay/spark@f16")))
    status, body = await stack.post(model="llamarelay/spark@f16", input="Hi")
    assert status == 500
    assert "the tensors are torn" in body["error"]["message"]
    assert (await stack.post(model="llamarelay/spark", input="Hi"))[0] == 200
    await stack.workers[0].announce()
    await stack.get("/readyz")
    status, body = await stack.post(model="llamarelay/spark@f16", input="Hi")
    assert (status, body["error"]["code"]) == (503, "model_unavailable")
    assert "the tensors are torn" in body["error"]["message"]


BROKEN_BODIES = {
    "an item whose text is no UTF-8": b'{"input": [{"role": "user", "content": "\xff"}]}',
    "an item with a wrong escape": b'{"input": [{"role": "user", "content": "\\x"}]}',
    "an item with half a surrogate pair": b'{"input": [{"role": "user", "content": "\\ud800"}]}',
    "an unknown field that is nested deeply": b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "an unknown field in what is no JSON": b'{"x": 1, "y',
    "wrong metadata in what is no JSON": b'{"metadata": {"a": 1, "y',
}


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES.keys())
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/input_tokens"])
async def test_a_broken_body_is_a_400(stack: Stack, path: str, body: bytes) -> None:
    async with stack.http.post(stack.url + path, data=body) as answer:
        assert answer.status == 400, await answer.text()
        assert (await answer.json())["error"]["type"] == "invalid_request_error"
    assert (await stack.post(input="Hi"))[0] == 200


async def test_a_body_that_is_not_encoded_as_it_says_is_a_400(stack: Stack) -> None:
    headers = {"Content-Encoding": "gzip", "Connection": "close"}
    async with stack.http.post(stack.url + "/v1/responses", data=b'{"input": "Hi"}', headers=headers) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert error["code"] == "invalid_body"
    assert "decompressing" in error["message"]
    assert (await stack.post(input="Hi"))[0] == 200


async def test_a_compressed_body_is_read_and_its_real_size_counts(make_stack: StackFactory) -> None:
    stack = await make_stack(max_body_bytes=100_000)
    for size, expected in ((100, 200), (30_000_000, 413)):
        body = gzip.compress(json.dumps({"model": MODEL, "input": "x" * size}).encode())
        headers = {"Content-Encoding": "gzip", "Connection": "close"}
        async with stack.http.post(stack.url + "/v1/responses", data=body, headers=headers) as answer:
            assert answer.status == expected


async def test_an_error_does_not_repeat_a_long_path(stack: Stack) -> None:
    long = "x" * 7000
    for method, path in (("GET", f"/{long}"), ("PUT", f"/v1/models/{long}"), ("GET", f"/v1/responses/{long}")):
        async with stack.http.request(method, stack.url + path) as answer:
            assert answer.status in (404, 405)
            assert len(await answer.read()) < 500
