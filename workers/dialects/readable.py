"""A tool's JSON schema as chat templates can read it.

Templates look for a few keywords and take them for what they mostly are: `properties` for an object, `required` for a
list of names, `description` for a text. A server may send anything there, which would end the whole prompt. What is as
templates expect it stays as it is, to the letter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from shared.excess import GROUPS
from shared.grammar import MAX_SCHEMA_DEPTH

_SCHEMAS = frozenset(
    {"items", "additionalProperties", "additionalItems", "contains", "propertyNames", "not", "if", "then", "else"}
)
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_TEXTS = ("title", "description", "format", "pattern")
_NAMED = frozenset({"string", "number", "integer", "boolean", "array", "object"})


def readable(schema: Mapping[str, Any], *, type_lists: bool = True) -> dict[str, Any]:
    """The schema of a tool's arguments. Without `type_lists` what may be of several types says so with `anyOf`, and
    what is null with `const`."""
    return {**_schema(schema, type_lists), "type": "object"}


def _schema(schema: Mapping[str, Any], type_lists: bool, depth: int = 0, *, option: bool = False) -> dict[str, Any]:
    """`option`: it is one of an `anyOf` or the like, of which templates look at no type."""
    if depth > MAX_SCHEMA_DEPTH:
        return {}
    shown: dict[str, Any] = {}
    for key, value in schema.items():
        if key in GROUPS:
            if isinstance(value, Mapping):
                shown[key] = {name: _inner(one, type_lists, depth) for name, one in value.items()}
            elif key == "properties":
                shown[key] = {}
        elif key in _LISTS:
            if isinstance(value, list):
                shown[key] = [_inner(one, type_lists, depth, option=True) for one in value]
        elif key == "required":
            if isinstance(value, list):
                shown[key] = [name for name in value if isinstance(name, str)]
        elif key == "enum":
            if isinstance(value, list):
                shown[key] = value
        elif key in _TEXTS:
            if value is not None:
                shown[key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        elif key == "type":
            kinds = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            kinds = [kind for kind in kinds if isinstance(kind, str)]
            if type_lists or option:
                shown |= {"type": value if isinstance(value, str) else kinds} if kinds else {}
            else:
                shown |= _without_lists(kinds, schema)
        elif key in _SCHEMAS and isinstance(value, list):  # drafts before 2020 wrote prefixItems so
            shown[key] = [_inner(one, type_lists, depth) for one in value]
        elif key in _SCHEMAS:
            shown[key] = _inner(value, type_lists, depth)
        else:
            shown[key] = value
    return shown


def _inner(schema: Any, type_lists: bool, depth: int, *, option: bool = False) -> Any:
    """A schema inside another. `true` and `false` are schemas too."""
    if isinstance(schema, bool):
        return schema
    return _schema(schema, type_lists, depth + 1, option=option) if isinstance(schema, Mapping) else {}


def _without_lists(kinds: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for the `type` of a schema."""
    if len(kinds) > 1:
        return {} if "anyOf" in schema else {"anyOf": [{"type": kind} for kind in kinds]}
    if "null" in kinds:
        return {"const": None}
    return {"type": kinds[0]} if kinds and kinds[0] in _NAMED else {}
