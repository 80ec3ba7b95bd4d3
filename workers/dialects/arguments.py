"""What a call is given, from the family's form to what the client gets: JSON text, or a custom tool's plain input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum, auto
from functools import cached_property, reduce
from itertools import islice
from typing import Any

from shared.excess import is_number
from workers.dialects.stream import Emit
from workers.dialects.toolbox import INPUT, OfferedTool
from workers.grammar.names import fits

ALL_TYPES = frozenset({"string", "number", "integer", "boolean", "null", "object", "array"})
MAX_VARIANTS = 16
ANNOTATIONS = frozenset({"type", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})

_DEFINITIONS = ("$defs", "definitions")
_PLAIN_NAME = re.compile(r"[\w.$@-]{1,200}")


class ArgumentsBroken(ValueError):
    """Arguments that are not what the tool can be given."""


class ValueForm(Enum):
    """How formats that write strings bare (XML parameters) hold the values of one parameter."""

    TEXT = auto()  # always a string, written bare
    TEXT_OR_NULL = auto()  # `null` is null, anything else a string
    JSON = auto()  # JSON text; what is none is taken for a string


def value_form(schema: Any, root: Mapping[str, Any]) -> ValueForm:
    """The form that lets every value of `schema` be written and read back without doubt.

    Bare text cannot be held to a `pattern` or a length, so strings with such limits are written as JSON.
    """
    schema = resolve(schema, root)
    if _plain_string(schema):
        return ValueForm.TEXT
    if isinstance(schema, Mapping):
        options = schema.get("anyOf") or schema.get("oneOf")
        if options and not set(schema) - ANNOTATIONS - {"anyOf", "oneOf"} and "type" not in schema:
            kinds = [resolve(option, root) for option in options]
            bare = [kind for kind in kinds if not _only_null(kind)]
            if len(bare) == 1 and len(kinds) == 2 and isinstance(bare[0], Mapping) and _free_string(bare[0]):
                return ValueForm.TEXT_OR_NULL
        if schema.get("type") in (["string", "null"], ["null", "string"]) and set(schema) <= ANNOTATIONS:
            return ValueForm.TEXT_OR_NULL
    return ValueForm.JSON


def string_choices(schema: Any, root: Mapping[str, Any]) -> list[str] | None:
    """The texts that a `ValueForm.TEXT` parameter may have; None where any text will do."""
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping):
        return None
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def types_of(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that values of `schema` may have, or more where that is hard to say."""
    return _types_of(schema, root, 16, {})


def _types_of(schema: Any, root: Mapping[str, Any], depth: int, known: dict[int, frozenset[str]]) -> frozenset[str]:
    """`known`: what was found for the parts that were looked at; for those in the making, everything."""
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping) or depth == 0:
        return ALL_TYPES
    if (found := known.get(id(schema))) is not None:
        return found
    known[id(schema)] = types = ALL_TYPES
    if declared := schema.get("type"):
        types &= {declared} if isinstance(declared, str) else set(map(str, declared))
        types |= {"integer"} if "number" in types else set()
    if "const" in schema:
        types &= _types_of_value(schema["const"])
    if isinstance(schema.get("enum"), list):
        types &= frozenset().union(*map(_types_of_value, schema["enum"]))
    for keyword in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(keyword), list):
            types &= frozenset().union(*(_types_of(option, root, depth - 1, known) for option in options))
    known[id(schema)] = types
    return types


def resolve(schema: Any, root: Mapping[str, Any]) -> Any:
    """Follows local references. A reference that leads nowhere, or into a circle, is left as it is."""
    for _ in range(16):
        if not isinstance(schema, Mapping) or set(schema) - ANNOTATIONS != {"$ref"}:
            break
        target: Any = root
        for step in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
            if step:
                step = step.replace("~1", "/").replace("~0", "~")
                target = target.get(step) if isinstance(target, Mapping) else None
        if target is None:
            break
        schema = target
    return schema


def variants(root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The object schemas, with nothing but properties of their own, that a tool's parameters may follow. All that is
    required is among the properties, and they say what patterns say of their names.

    References and `allOf` at the root are merged; `anyOf` and `oneOf` give a variant each, up to a limit, and so do the
    values of `enum` and `const`. A variant that nothing can fulfil is left out.
    """
    known: _Known = {}
    found = _variants({key: value for key, value in root.items() if key not in _DEFINITIONS}, root, 8, known)
    found = [{**one, "properties": _named(one, one.get("required") or ())} for one in found]
    possible = [one for one in found if all(one["properties"][name] is not False for name in one.get("required") or ())]
    return possible or found


def property_schema(variants: Sequence[Mapping[str, Any]], key: str) -> Any:
    """What a tool's parameters say of one of them, in whatever variant."""
    schemas: list[Any] = []
    for variant in variants:
        schema = said_of(variant, key)
        if schema not in schemas:
            schemas.append(schema)
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


_Known = dict[tuple[int, int], tuple[Mapping[str, Any], list[Mapping[str, Any]]]]
"""A part of a schema and its variants, by its id and the depth: kept, so that no other part gets that id."""


def form_of(key: str, every: Sequence[Mapping[str, Any]], root: Mapping[str, Any]) -> ValueForm:
    """The form of a parameter's values, whichever of all variants the call follows."""
    if any(key in variant["properties"] for variant in every):
        return value_form(property_schema(every, key), root)
    return form_of_unlisted(property_schema(every, key), every, root)


def form_of_unlisted(schema: Any, every: Sequence[Mapping[str, Any]], root: Mapping[str, Any]) -> ValueForm:
    """The same for one that no variant lists: what another variant would say of it is not known when it is written."""
    return value_form(schema, root) if len(every) == 1 else ValueForm.JSON


def _variants(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int, known: _Known) -> list[Mapping[str, Any]]:
    """`known`: what was found for parts of the schema that stand in several places."""
    if (found := known.get((id(schema), depth))) is not None:
        return found[1]
    whole = ("$ref", "allOf", "anyOf", "oneOf", "const", "enum")
    own: Mapping[str, Any] = {key: value for key, value in schema.items() if key not in whole}
    for keyword in ("minProperties", "maxProperties"):
        own = _counted(own, keyword)
    if own.get("patternProperties"):
        own = {**own, "properties": _by_patterns(own)}
    parts: list[list[Any]] = []
    if "const" in schema:
        parts.append([_only(schema["const"])])
    if isinstance(schema.get("enum"), list):
        parts.append([_only(value) for value in schema["enum"] if isinstance(value, Mapping)])
    if depth and "$ref" in schema:
        parts.append([resolve({"$ref": schema["$ref"]}, root)])
    for part in schema.get("allOf") or () if depth else ():
        parts.append([part])
    for keyword in ("anyOf", "oneOf"):
        if depth and schema.get(keyword):
            parts.append(list(schema[keyword]))
    merged: list[Mapping[str, Any]] = [own]
    for options in parts:
        possible = (one for one in options if isinstance(one, Mapping))
        each = (variant for option in possible for variant in _variants(option, root, depth - 1, known))
        expanded = list(islice(each, MAX_VARIANTS))
        merged = list(islice((_merged(one, two) for one in merged for two in expanded), MAX_VARIANTS)) or merged
    known[id(schema), depth] = schema, merged
    return merged


def _counted(schema: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    """A schema with a whole number for a keyword, or without it: llguidance overlooks others behind some `$id`."""
    if keyword not in schema:
        return schema
    given = schema[keyword]
    counts = {keyword: int(given)} if is_number(given) and given == int(given) else {}
    return {key: value for key, value in schema.items() if key != keyword} | counts


def _merged(one: Mapping[str, Any], two: Mapping[str, Any]) -> Mapping[str, Any]:
    """What both say: a property follows both, and what one of them does not know it may forbid."""
    names = dict.fromkeys([*(one.get("properties") or ()), *(two.get("properties") or ())])
    properties = {name: _both(said_of(one, name), said_of(two, name)) for name in names}
    required = list(dict.fromkeys([*(one.get("required") or ()), *(two.get("required") or ())]))
    merged = {**two, **one, "properties": properties, "required": required}
    for keyword, strictest in (("minProperties", max), ("maxProperties", min)):
        if counts := [schema[keyword] for schema in (one, two) if keyword in schema]:
            merged[keyword] = strictest(counts)
    for this, that in ((one, two), (two, one)):
        for pattern, schema in _patterns(this).items():
            merged["patternProperties"] = {
                **_patterns(merged),
                pattern: _both(schema, _patterns(that).get(pattern, that.get("additionalProperties", True))),
            }
    others = _both(one.get("additionalProperties", True), two.get("additionalProperties", True))
    return merged if others is True else {**merged, "additionalProperties": others}


def _only(value: Any) -> Mapping[str, Any]:
    """The object schema of one value."""
    value = value if isinstance(value, Mapping) else {}
    properties = {name: {"const": inner} for name, inner in value.items()}
    return {"properties": properties, "required": list(value), "additionalProperties": False}


def _named(schema: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """An object schema's properties, with those names among them."""
    properties = dict(schema.get("properties") or {})
    for name in names:
        properties.setdefault(name, said_of(schema, name))
    return properties


def _by_patterns(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object schema's properties, each with what the patterns say of its name."""
    properties = schema.get("properties") or {}
    return {
        name: reduce(_both, (said for pattern, said in _patterns(schema).items() if fits(pattern, name)), inner)
        for name, inner in properties.items()
    }


def _patterns(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    patterns = schema.get("patternProperties")
    return patterns if isinstance(patterns, Mapping) else {}


def said_of(schema: Mapping[str, Any], name: str) -> Any:
    """What one of the variants says of a property."""
    properties = schema.get("properties") or {}
    if name in properties:
        return properties[name]
    said = [inner for pattern, inner in _patterns(schema).items() if fits(pattern, name)]
    return reduce(_both, said) if said else schema.get("additionalProperties", True)


def _both(one: Any, two: Any) -> Any:
    """One schema for what follows two."""
    if one is False or two is False:
        return False
    for this, that in ((one, two), (two, one)):
        if this is True or this == {} or this == that:
            return that
        if isinstance(this, Mapping) and _free_string(this) and _plain_string(that):
            return that
    return {"allOf": [one, two]}


def _plain_string(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    rest = set(schema) - ANNOTATIONS
    if rest <= {"const", "enum"} and rest and schema.get("type", "string") == "string":
        choices = [schema["const"]] if "const" in schema else schema["enum"]
        return (
            len(rest) == 1
            and isinstance(choices, list)
            and bool(choices)
            and all(isinstance(choice, str) and _safe(choice) for choice in choices)
        )
    return _free_string(schema)


def _free_string(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "string" and set(schema) <= ANNOTATIONS


def _safe(choice: str) -> bool:
    """Whether a format can hold `choice` bare: nothing that could end it, no line breaks at its ends."""
    return bool(choice) and choice == choice.strip() and not any(mark in choice for mark in "<>[]|{}")


def _only_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _types_of_value(value: Any) -> frozenset[str]:
    names: dict[type, set[str]] = {
        str: {"string"},
        bool: {"boolean"},
        int: {"integer", "number"},
        float: {"number", "integer"},
        type(None): {"null"},
        dict: {"object"},
        list: {"array"},
    }
    return frozenset(names[type(value)])


def parse_json(text: str) -> Any:
    """Raises ArgumentsBroken, also for what only Python takes for a number."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ArgumentsBroken(str(error)) from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class JsonArguments:
    """Arguments that the family writes as JSON text."""

    def __init__(self, tool: OfferedTool, emit: Emit, *, sure: bool) -> None:
        """`sure`: a grammar makes the arguments right, so they are passed on as they come."""
        self._custom = tool.custom
        self._emit = emit
        self._parts: list[str] | None = None if sure else []
        self._input = InputText(emit) if tool.custom else None

    def feed(self, text: str) -> None:
        if self._parts is not None:
            self._parts.append(text)
        elif self._input is not None:
            self._input.feed(text)
        else:
            self._emit(text)

    def close(self) -> None:
        """Raises ArgumentsBroken."""
        if self._parts is None:
            return
        text = "".join(self._parts).strip() or "{}"
        value = parse_json(text)
        if isinstance(value, str) and not self._custom:  # encoded twice: some models learned it from their templates
            text, value = value, parse_json(value)
        if self._custom:
            value = value.get(INPUT, text) if isinstance(value, dict) else value
            self._emit(value if isinstance(value, str) else text)
        elif isinstance(value, dict):
            self._emit(text)
        else:
            raise ArgumentsBroken("arguments are not an object")


class InputText:
    """Takes the text out of `{"input": "..."}` as it comes."""

    _BEFORE = re.compile(r'\s*\{\s*"' + INPUT + r'"\s*:\s*"')
    _PLAIN = re.compile(r'[^"\\]+')
    _ESCAPES: Mapping[str, str] = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._held = ""
        self._inside = self._over = False
        self._high = ""  # the first half of a surrogate pair

    def feed(self, text: str) -> None:
        if self._over:
            return
        self._held += text
        if not self._inside:
            if (match := self._BEFORE.match(self._held)) is None:
                return
            self._inside, self._held = True, self._held[match.end() :]
        if words := "".join(self._words()):
            self._emit(words)

    def _words(self) -> Iterator[str]:
        text, at = self._held, 0
        while at < len(text):
            if match := self._PLAIN.match(text, at):
                at = match.end()
                yield self._lone() + match.group()
            elif text[at] == '"':
                self._over = True
                yield self._lone()
                break
            else:
                size = 6 if text[at + 1 : at + 2] == "u" else 2
                if at + size > len(text):
                    break
                yield self._unescape(text[at + 1 : at + size])
                at += size
        self._held = text[at:]

    def _unescape(self, escape: str) -> str:
        if escape[0] != "u":
            return self._lone() + self._ESCAPES.get(escape, escape)
        try:
            code = int(escape[1:], 16)
        except ValueError:
            return self._lone() + escape
        if 0xD800 <= code < 0xDC00:
            lone, self._high = self._lone(), chr(code)
            return lone
        if 0xDC00 <= code < 0xE000:
            high, self._high = self._high, ""
            return chr(0x10000 + ((ord(high) - 0xD800) << 10) + code - 0xDC00) if high else "\ufffd"
        return self._lone() + chr(code)

    def _lone(self) -> str:
        """A first half whose second half did not come."""
        high, self._high = self._high, ""
        return "\ufffd" if high else ""


class NamedArguments:
    """Arguments that the family writes one by one, each between markers of its own: they become JSON text."""

    def __init__(self, tool: OfferedTool, emit: Emit, *, sure: bool) -> None:
        self._tool = tool
        self._root = tool.parameters
        self._variants = variants(self._root)
        self._emit = emit
        self._sure = sure
        self._keys: set[str] = set()
        self._begun = False
        self._parts: list[str] = []
        self._key = ""
        self.form = ValueForm.JSON  # of the value that is being read

    @cached_property
    def odd_keys(self) -> list[str]:
        """Names of parameters that could be mistaken for the format's own: they are looked for as they are."""
        names = {name for variant in self._variants for name in variant["properties"]}
        return sorted((name for name in names if not _PLAIN_NAME.fullmatch(name)), key=len, reverse=True)

    def begin(self, key: str, *, form: ValueForm | None = None) -> None:
        """The next value is `key`'s. `form`: what the format itself says of it."""
        if key in self._keys and not self._sure:
            raise ArgumentsBroken(f"{key} is given twice")
        self._keys.add(key)
        self.form = form or form_of(key, self._variants, self._root)
        self._key = key
        self._parts = []
        if self._tool.custom:
            return
        self._emit((", " if self._begun else "{") + dump(key) + ": ")
        self._begun = True
        if self.form is ValueForm.TEXT:
            self._emit('"')

    def feed(self, text: str) -> None:
        """More of the value."""
        if self._tool.custom:
            self._emit(text)
        elif self.form is ValueForm.TEXT:
            self._emit(dump(text)[1:-1])
        elif self.form is ValueForm.TEXT_OR_NULL and not "null".startswith("".join(self._parts) + text):
            self.form = ValueForm.TEXT
            self._emit('"' + dump("".join(self._parts) + text)[1:-1])
        elif self.form is ValueForm.JSON and self._sure:
            self._emit(text)
        else:
            self._parts.append(text)

    def end(self) -> None:
        """The value is complete."""
        if self._tool.custom:
            return
        if self.form is ValueForm.TEXT:
            self._emit('"')
        elif self.form is ValueForm.TEXT_OR_NULL:
            text = "".join(self._parts)
            self._emit(text if text == "null" else dump(text))
        elif not self._sure:
            self._emit(_as_json("".join(self._parts), types_of(property_schema(self._variants, self._key), self._root)))

    def value(self, key: str, text: str) -> None:
        """A value that the format gave as a whole, as JSON text."""
        self.begin(key, form=ValueForm.JSON)
        value = parse_json(text) if self._tool.custom else None
        self._emit(value if isinstance(value, str) else text)

    def close(self) -> None:
        if self._tool.custom:
            if self._keys != {INPUT}:
                raise ArgumentsBroken("a custom tool has one input")
        else:
            self._emit("}" if self._keys else "{}")


def _as_json(text: str, types: frozenset[str]) -> str:
    """JSON for a value that was written without a grammar. Python's literals are taken, as models mix them up."""
    text = text.strip("\r\n")
    literal = {"True": "true", "False": "false", "None": "null"}.get(text, text)
    try:
        value = parse_json(literal)
    except ArgumentsBroken:
        return dump(text)
    return literal if _types_of_value(value) & types or "string" not in types else dump(text)
