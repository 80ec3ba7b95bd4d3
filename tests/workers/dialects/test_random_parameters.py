"""Random parameters of tools: what any family's grammar writes is read as arguments that validate."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest

from shared.grammar import check_parameters
from shared.schema.tools import FunctionTool
from shared.unsupported import Unsupported
from tests.workers.dialects.samples import SAMPLES, Sample
from tests.workers.dialects.test_grammars import outputs
from workers.dialects.toolbox import Toolbox
from workers.grammar.grammars import demand

SCHEMAS = 60  # for each family
NAMED = ("qwen-xml", "seed-oss", "glm", "glm-4.7", "minimax", "deepseek-v3.2", "gemma-4", "lfm2")
FAMILIES = {s.dialect.name: s for s in SAMPLES if s.dialect.name in (*NAMED, "hermes", "harmony")}
NAMES = ["a", "b", "xa", "xb", "x-1", " a ", "a b", "größe", "a=b", "a:", "a>", "$ref", "$defs"]
PATTERNS = ["^x", "a$", "^x[ab]*$", "^[0-9]+$", "^(a|b)$", "^a|^b", "-"]
LEAVES: list[Any] = [
    {"type": "string"},
    {"type": ["string", "null"]},
    {"type": "string", "enum": ["x", "null", "1"]},
    {"type": "string", "pattern": "^[0-9]{1,3}$"},
    {"type": "integer", "minimum": -9, "maximum": 99},
    {"type": "number"},
    {"type": "boolean"},
    {"const": None},
    {"enum": [1, "1", True, ["x"]]},
    {"anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 3}]},
    True,
]


def value(rng: random.Random, at: str, depth: int = 0) -> Any:
    """A schema; `at` is where it stands, as a reference writes it."""
    kind = rng.choice(["leaf"] * 4 + ["array", "members", "own definitions", "shared", "anchor"])
    if kind == "array" and depth < 2:
        return {"type": "array", "items": value(rng, f"{at}/items", depth + 1), "maxItems": 2}
    if kind == "members" and depth < 2:
        return members(rng, at, depth + 1)
    if kind == "own definitions":
        referred = {"$ref": f"{at}/$defs/T"}
        return {"$defs": {"T": rng.choice(LEAVES)}, "anyOf": [referred, {"type": "null"}]}
    if kind == "shared":
        return {"$ref": rng.choice(["#/$defs/leaf", "#/$defs/odd~1name", "#/$defs/odd%2Fname".replace("%2F", "~1")])}
    return {"$ref": "#anchored"} if kind == "anchor" else rng.choice(LEAVES)


def members(rng: random.Random, at: str, depth: int = 0) -> dict[str, Any]:
    names = rng.sample(NAMES, rng.choice([0, 1, 2, 3]))
    schema: dict[str, Any] = {"type": "object"}
    if names:
        written = {name: name.replace("~", "~0").replace("/", "~1").replace(" ", "%20") for name in names}
        schema["properties"] = {n: value(rng, f"{at}/properties/{written[n]}", depth) for n in names}
    if rng.random() < 0.6:
        schema["required"] = rng.sample(names, rng.randint(0, len(names))) + rng.sample(
            ["c", "xc"], rng.choice([0, 0, 1])
        )
    if rng.random() < 0.7:
        schema["additionalProperties"] = rng.choice([False, False, rng.choice(LEAVES)])
    if rng.random() < 0.5:
        schema["patternProperties"] = {
            pattern: rng.choice([*LEAVES, False]) for pattern in rng.sample(PATTERNS, rng.choice([1, 1, 2]))
        }
    if rng.random() < 0.5:
        schema["minProperties"] = rng.choice([1, 1, 2, 3])
    if rng.random() < 0.3:
        schema["maxProperties"] = rng.choice([1, 2, 3])
    return schema


def parameters(rng: random.Random) -> dict[str, Any]:
    schema = members(rng, "#")
    if rng.random() < 0.3:
        keyword = rng.choice(["anyOf", "allOf"])
        schema[keyword] = [members(rng, f"#/{keyword}/{n}", 1) for n in range(2)]
    anchored = {"$anchor": "anchored", "type": "integer", "maximum": 5}
    return {**schema, "$defs": {"leaf": rng.choice(LEAVES), "odd/name": {"type": "boolean"}, "anchored": anchored}}


@pytest.mark.parametrize("family", FAMILIES)
def test_random_parameters_are_kept(family: str) -> None:
    sample: Sample = FAMILIES[family]
    tried = calls = 0
    for seed in range(100_000):
        if tried == SCHEMAS:
            break
        schema = parameters(random.Random(seed))
        try:
            check_parameters(schema, strict=True)
        except Unsupported:
            continue
        tried += 1
        tools = Toolbox([FunctionTool(name="f", parameters=schema)])
        for output, said, checked in outputs(sample, demand(tools, "required", parallel=False), "special", 2, seed):
            (call,) = [item for item in said if item[0] not in ("reasoning", "commentary")]
            assert call[0] == "call", (seed, schema, output)
            if (arguments := _parsed(call[2])) is None:
                continue
            jsonschema.validate(arguments, schema)
            assert [_parsed(item[2]) for item in checked if item[0] == "call"] == [arguments], (seed, schema, output)
            calls += 1
    assert calls > SCHEMAS


def _parsed(arguments: str) -> Any:
    """None where a name comes twice: a grammar cannot remember those that are not listed. Raises ValueError for what
    only Python takes for JSON."""
    twice = False

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        twice = twice or len(dict(pairs)) < len(pairs)
        return dict(pairs)

    def refuse(name: str) -> Any:
        raise ValueError(name)

    value = json.loads(arguments, parse_constant=refuse, object_pairs_hook=once)
    return None if twice else value
