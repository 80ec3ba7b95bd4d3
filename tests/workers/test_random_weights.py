"""Models that know nothing, under grammar: whatever they say is valid, or reported incomplete."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import gguf
import jsonschema
import numpy as np
import pytest

from shared.settings import REPOSITORY_MODELS
from tests.conftest import StackFactory
from tests.stack import Stack
from tests.wire import text_of
from workers.engine.engine import load_engine

REQUESTS = 200
AT_ONCE = 16


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with random weights: its tokens and template, nothing of what it learned."""
    path = tmp_path_factory.mktemp("nonsense") / "nonsense-F32.gguf"
    source = gguf.GGUFReader(REPOSITORY_MODELS / "llamarelay/spark/spark-F16.gguf")
    writer = gguf.GGUFWriter(path, "qwen3")
    for field in source.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind, *inner = field.types
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner[-1] if inner else None)
    numbers = np.random.default_rng(7)
    for tensor in source.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        writer.add_tensor(tensor.name, numbers.standard_normal(shape, dtype=np.float32) * 0.2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    inner = ["leaf"] * 4 + ["object", "array", "anyOf"]
    kind = rng.choice(["object", "array", "anyOf", "ref"] if depth == 0 else inner)
    if depth > 2:
        kind = "leaf"
    if kind == "object":
        names = rng.sample(["name", "age", "über", "a b", "x-1", 'q"', "list"], rng.randint(1, 4))
        return {
            "type": "object",
            "properties": {name: random_schema(rng, depth + 1) for name in names},
            "required": rng.sample(names, rng.randint(0, len(names))),
            "additionalProperties": False,
        }
    if kind == "array":
        return {"type": "array", "items": random_schema(rng, depth + 1), "minItems": rng.randint(0, 2), "maxItems": 3}
    if kind == "anyOf":
        return {"anyOf": [random_schema(rng, depth + 1) for _ in range(rng.randint(2, 3))]}
    if kind == "ref":
        leaf = random_schema(rng, 3)
        following = {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}
        node = {"type": "object", "properties": {"value": leaf, "next": following}, "required": ["value", "next"]}
        return {"$defs": {"n": {**node, "additionalProperties": False}}, "$ref": "#/$defs/n"}
    return rng.choice(
        [
            {"type": "string", "maxLength": rng.randint(0, 12)},
            {"type": "string", "pattern": "^[a-c]{2}-[0-9]+$", "maxLength": 12},
            {"type": "string", "format": "date"},
            {"type": "integer", "minimum": -5, "maximum": rng.randint(0, 4000)},
            {"type": "number", "minimum": 0, "maximum": 1},
            {"type": "boolean"},
            {"type": "null"},
            {"enum": ["red", "grün", 'a"b', 3, None]},
            {"const": {"fixed": [1, "two"]}},
        ]
    )


async def in_parts(requests: list[dict[str, Any]], stack: Stack) -> list[Any]:
    limit = asyncio.Semaphore(AT_ONCE)

    async def post(fields: dict[str, Any]) -> Any:
        async with limit:
            status, response = await stack.post(**fields)
            assert status == 200, (fields, response)
            return response

    return await asyncio.gather(*(post(fields) for fields in requests))


async def test_random_schemas_are_kept(make_stack: StackFactory, nonsense: Path) -> None:
    stack = await make_stack(loader=lambda _, settings, progress, __: load_engine(nonsense, settings, progress))
    rng = random.Random(11)
    schemas = [random_schema(rng) for _ in range(REQUESTS // 2)]
    requests = [
        {
            "input": "Say something.",
            "text": {"format": {"type": "json_schema", "name": "s", "schema": schema}},
            "max_output_tokens": 300,
            "temperature": 1,
            "reasoning": {"effort": rng.choice(["none", "low"])},
        }
        for schema in schemas
    ]
    completed = 0
    for schema, response in zip(schemas, await in_parts(requests, stack), strict=True):
        if response["status"] == "completed":
            jsonschema.validate(json.loads(text_of(response)), schema)
            completed += 1
        else:
            assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert completed > REQUESTS // 4


async def test_random_tools_are_called_right(make_stack: StackFactory, nonsense: Path) -> None:
    stack = await make_stack(loader=lambda _, settings, progress, __: load_engine(nonsense, settings, progress))
    rng = random.Random(12)
    offers = []
    for _ in range(REQUESTS // 2):
        count = rng.randint(1, 3)
        inputs = [{"p": random_schema(rng, 1)} for _ in range(count)]
        closed = {"type": "object", "required": ["p"], "additionalProperties": False}
        offers.append({f"tool_{n}": {**closed, "properties": given} for n, given in enumerate(inputs)})
    requests = [
        {
            "input": "Do something.",
            "tools": [{"type": "function", "name": name, "parameters": schema} for name, schema in offer.items()],
            "tool_choice": "required",
            "parallel_tool_calls": rng.random() < 0.5,
            "max_output_tokens": 300,
            "temperature": 1,
            "reasoning": {"effort": "none"},
        }
        for offer in offers
    ]
    completed = 0
    answers = await in_parts(requests, stack)
    for fields, offer, response in zip(requests, offers, answers, strict=True):
        calls = [item for item in response["output"] if item["type"] == "function_call"]
        for call in (call for call in calls if call["status"] == "completed"):
            jsonschema.validate(json.loads(call["arguments"]), offer[call["name"]])
        if response["status"] == "completed":
            assert len(calls) >= 1
            assert fields["parallel_tool_calls"] or len(calls) == 1
            completed += 1
    assert completed > REQUESTS // 4
