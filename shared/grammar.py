"""What output can be held to: JSON schemas, Lark grammars and regular expressions, checked without a model.

The front end refuses here what a worker could not keep. llguidance (https://github.com/guidance-ai/llguidance, docs
`json_schema.md` and `syntax.md`) decides what is possible; its limits keep hostile input cheap.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from llguidance import LLMatcher, LLParserLimits

MAX_SCHEMA_BYTES = 256 * 1024
MAX_SCHEMA_DEPTH = 60
MAX_GRAMMAR_BYTES = 64 * 1024
MAX_SEARCHED = 400  # schemas inside a refused one that are tried to find the place

LIMITS = LLParserLimits(
    max_grammar_size=200_000,
    initial_lexer_fuel=1_000_000,  # about 20 ms
    step_lexer_fuel=200_000,  # about 15 ms a mask
    step_max_items=50_000,
    max_lexer_states=50_000,  # about 100 MB
    verbose_errors=False,
)

JSON_STYLE = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
"""One way to write JSON, as `json.dumps` and chat templates do: what is left without choice needs no sampling."""


class Unsupported(ValueError):
    """Something that no output can be held to. `path` leads to it, such as `properties.a.anyOf[0]`; "" is the whole."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


def check_schema(schema: Any) -> None:
    """Raises Unsupported, with the place and the keyword, where output cannot be held to a JSON schema."""
    if not isinstance(schema, Mapping):
        raise Unsupported("A JSON schema must be an object.")
    if (deep := _too_deep(schema)) is not None:
        raise Unsupported(f"The schema is nested more than {MAX_SCHEMA_DEPTH} levels deep.", deep)
    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError) as error:
        raise Unsupported(f"The schema is not JSON: {error}.") from error
    if size > MAX_SCHEMA_BYTES:
        raise Unsupported(f"The schema has {size} bytes as JSON; at most {MAX_SCHEMA_BYTES} are possible.")
    if (problem := _problem(schema)) is None:
        return
    path = _place(schema, problem)
    raise Unsupported(_explained(problem), path)


def check_grammar(definition: str, syntax: str) -> None:
    """Raises Unsupported where a custom tool's input cannot be held to a grammar. `syntax`: lark or regex."""
    if len(definition.encode(errors="replace")) > MAX_GRAMMAR_BYTES:
        raise Unsupported(f"The grammar is longer than {MAX_GRAMMAR_BYTES} bytes.")
    if syntax == "regex":
        problem = _validated(LLMatcher.grammar_from_regex(definition))
    else:
        for token in lark_tokens(definition):
            if token.kind in ("reference", "special") or token.text in ("%llguidance", "%json", "%lark", "%regex"):
                raise Unsupported(f"{token.text} cannot be used in a tool's grammar.")
        problem = _validated(LLMatcher.grammar_from_lark(definition))
    if problem is not None:
        raise Unsupported(f"The grammar cannot be used: {_short(problem)}")


class LarkToken(NamedTuple):
    kind: str  # string, regex, comment, directive, reference, special, space, other
    text: str


_LARK = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"i?)
      | (?P<comment>(?://|\#)[^\n]*)
      | (?P<regex>/(?:[^/\\\n]|\\.)+/[imslux]*)
      | (?P<directive>%[a-z]+)
      | (?P<reference>@[\w-]+)
      | (?P<special><[^<>\s]+>)
      | (?P<space>\s+)
      | (?P<other>\w+|.)""",
    re.VERBOSE,
)


def lark_tokens(definition: str) -> Iterator[LarkToken]:
    """The words of a Lark grammar; joined they are the definition again."""
    for match in _LARK.finditer(definition):
        assert match.lastgroup
        yield LarkToken(match.lastgroup, match.group())


def json_grammar(schema: Mapping[str, Any], *, lenient: bool = False) -> str:
    """llguidance's grammar for a schema, in this server's way to write JSON."""
    options = {**JSON_STYLE, **({"lenient": True} if lenient else {})}
    return LLMatcher.grammar_from_json_schema(json.dumps({**schema, "x-guidance": options}))


def _problem(schema: Mapping[str, Any]) -> str | None:
    return _validated(json_grammar(schema))


def _validated(grammar: str) -> str | None:
    refused, messages = LLMatcher.validate_grammar_with_warnings(grammar, limits=LIMITS)
    return str(messages[0]) if refused else None


def _too_deep(schema: Any) -> str | None:
    """The path to something nested too deep, without recursion."""
    waiting: list[tuple[Any, str, int]] = [(schema, "", 0)]
    while waiting:
        value, path, depth = waiting.pop()
        if depth > MAX_SCHEMA_DEPTH:
            return path
        if isinstance(value, Mapping):
            waiting += [(inner, _joined(path, str(key)), depth + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, f"{path}[{index}]", depth + 1) for index, inner in enumerate(value)]
    return None


def _place(schema: Mapping[str, Any], problem: str) -> str:
    """The path to the innermost schema that is refused by itself, and to the keyword where the message names one."""
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    path, current = "", schema
    searched = 0
    while True:
        for step, inner in _inner(current):
            searched += 1
            if searched > MAX_SEARCHED:
                return path
            if isinstance(inner, Mapping) and (found := _problem({**definitions, **inner})) is not None:
                path, current, problem = _joined(path, step), inner, found
                break
        else:
            break
    keyword = re.search(r'Unimplemented keys: \["([^"]+)"', problem)
    if keyword:
        return _joined(path, keyword.group(1))
    for word in ("pattern", "format", "oneOf", "multipleOf", "patternProperties", "type"):
        if word in current and word.lower() in problem.lower().replace("regex parse", "pattern"):
            return _joined(path, word)
    return path


def _inner(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in ("properties", "patternProperties", "$defs", "definitions"):
        if isinstance(given := schema.get(keyword), Mapping):
            yield from ((f"{keyword}.{name}", inner) for name, inner in given.items())
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(given := schema.get(keyword), list):
            yield from ((f"{keyword}[{index}]", inner) for index, inner in enumerate(given))
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield keyword, schema[keyword]


def _joined(path: str, step: str) -> str:
    return f"{path}.{step}" if path else step


def _explained(problem: str) -> str:
    if found := re.match(r"Unimplemented keys: \[(.*)\]", problem):
        return f"Output cannot be held to the JSON schema keyword {found.group(1)}."
    return f"Output cannot be held to this JSON schema: {_short(problem)}"


def _short(problem: str) -> str:
    """What a message of llguidance says, without the input that it repeats."""
    lines = [line.strip() for line in problem.strip().split("\n")]
    said = next((line for line in reversed(lines) if line.startswith("error: ")), lines[0])
    return said.removeprefix("error: ")[:300]
