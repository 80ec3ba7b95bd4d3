"""What output can be held to: JSON schemas, Lark grammars and regular expressions, checked without a model.

The front end refuses here what a worker could not keep. llguidance (https://github.com/guidance-ai/llguidance, docs
`json_schema.md` and `syntax.md`) decides what is possible; its limits keep hostile input cheap.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from llguidance import LLMatcher

from shared.endless import is_endless
from shared.excess import DATA, GROUPS, excess, is_number, kept_bounds, regex_excess
from shared.grammar_apart import is_risky
from shared.lark import lark_tokens
from shared.quoted import quoted_lark
from shared.remembered import Remembered
from shared.trials import SECONDS, OutOfTime, Trials
from shared.unsupported import Unsupported

MAX_SCHEMA_BYTES = 256 * 1024
MAX_SCHEMA_DEPTH = 60
MAX_GRAMMAR_BYTES = 64 * 1024
MAX_TRIED = 2_000_000  # bytes of schemas inside a refused one that are tried to find the places
STEP_BYTES = 256  # what it takes to try one at all
APART_BYTES = 250_000  # and in a process of its own

JSON_STYLE = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
"""One way to write JSON, as `json.dumps` and chat templates do: what is left without choice needs no sampling."""


def check_schema(schema: Any, trials: Trials | None = None) -> None:
    """Raises Unsupported, with the place and the keyword, where output cannot be held to a JSON schema; OutOfTime where
    a first look does not tell."""
    text = check_size(schema)
    trials = trials or Trials()
    if (known := _CHECKED.get(text)) is None:
        with _in_time(trials):
            known = (_refused(schema, trials),)
        if not trials.used_up:
            _CHECKED.put(text, known, len(text) // 16 if known[0] else 0)
    if known[0] is not None:
        problem, place = known[0]
        raise Unsupported(_explained(problem), _written(place))


# agents send the same tools with every request
_CHECKED: Remembered[tuple[tuple[str, Place] | None]] = Remembered(entries=16_384, size=1024 * 1024)


@contextmanager
def _in_time(trials: Trials) -> Iterator[None]:
    """What takes more than the request's time is refused; more than that of a first look, it raises OutOfTime."""
    try:
        yield
    except OutOfTime:
        if trials.first_look:
            raise
        message = f"The request's schemas and grammars take more than {SECONDS:.0f} s to look into, up to this one."
        raise Unsupported(message) from None


def check_size(schema: Any) -> str:
    """A schema as JSON text. Raises Unsupported for one that is none, or too large to be looked at."""
    if not isinstance(schema, Mapping):
        raise Unsupported("A JSON schema must be an object.")
    if (deep := _too_deep(schema)) is not None:
        raise Unsupported(f"The schema is nested more than {MAX_SCHEMA_DEPTH} levels deep.", deep)
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError) as error:
        raise Unsupported(f"The schema is not JSON: {error}.") from error
    if len(text) > MAX_SCHEMA_BYTES:
        raise Unsupported(f"The schema has {len(text)} bytes as JSON; at most {MAX_SCHEMA_BYTES} are possible.")
    return text


def arguments_schema(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The JSON schema of a function's arguments, always an object's. Templates read `properties` without asking."""
    schema = parameters or {}
    return {"type": "object", **schema, "properties": schema.get("properties") or {}}


def check_parameters(parameters: Mapping[str, Any], *, strict: bool, trials: Trials | None = None) -> None:
    """Raises Unsupported where a function cannot be called with arguments by its `parameters`. Where it is not
    `strict`, they only have to be an object's."""
    check_size(parameters)
    if (kind := parameters.get("type", "object")) != "object":
        raise Unsupported(f"A function's arguments are an object, not {json.dumps(kind)[:80]}.", "type")
    if strict:
        check_schema(arguments_schema(parameters), trials)


def loosened(schema: Mapping[str, Any], trials: Trials | None = None) -> Mapping[str, Any]:
    """The part of a schema that output can be held to: all but what cannot be kept, at worst the type alone.

    That takes from what `trials` may search; what is left when they have no more, or no more time, is its type alone.
    Raises OutOfTime where a first look does not tell. But for the time, the same schemas always give the same, and are
    looked into once.
    """
    trials = trials or Trials()
    bare = {"type": _type_of(schema)}
    try:
        text = check_size(schema)
    except Unsupported:
        return bare
    known = _LOOSENED.get(text)
    if known is None or (known.open and known.cost < trials.searched):
        try:
            known = _loosened(json.loads(text), trials)
        except OutOfTime:
            if trials.first_look:
                raise
            return bare
        _LOOSENED.put(text, known, 0 if known.whole else len(json.dumps(known.schema)))
    trials.searched -= known.cost
    if known.open or trials.searched < 0:
        trials.searched = 0
        return bare
    return schema if known.whole else known.schema


def loosened_arguments(parameters: Mapping[str, Any], trials: Trials | None = None) -> dict[str, Any]:
    """The same for a function's parameters: arguments that are always an object's, at worst any object."""
    anything = arguments_schema(None)
    kept = arguments_schema(loosened({**arguments_schema(parameters), "type": "object"}, trials))
    return kept if arguments_schema(loosened(kept, trials)) == kept else anything


class _Loosened(NamedTuple):
    """What is kept of a schema."""

    schema: Mapping[str, Any]  # empty where all is kept
    whole: bool
    cost: int  # bytes that were searched
    open: bool = False  # whether the search ended there without a result


# one response may have hundreds of tools, asked for in each of its rounds; a schema that is kept whole takes no room
_LOOSENED: Remembered[_Loosened] = Remembered(entries=16_384, size=8 * 1024 * 1024)


def _loosened(schema: Mapping[str, Any], trials: Trials) -> _Loosened:
    """Raises OutOfTime."""
    bare = {"type": _type_of(schema)}
    trials.renew()  # else it would depend on the schemas before
    current, search = schema, _Search(trials, min(MAX_TRIED, trials.searched))
    while (found := _refused(current, trials, search)) is not None:
        _, place = found
        if search.late:
            raise OutOfTime
        if search.over and search.most < MAX_TRIED:
            return _Loosened(bare, False, search.most, open=True)
        own_type = place == ("type",) and current["type"] == bare["type"]  # what is left of a schema without it?
        if not place or own_type or search.over:
            return _Loosened(bare, False, search.tried)
        current = _without(current, place)
    return _Loosened({} if current is schema else current, current is schema, search.tried)


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    return kind if isinstance(kind, str) and kind in _TYPES else "object"


def check_grammar(definition: str, syntax: str, trials: Trials | None = None) -> None:
    """Raises Unsupported where a custom tool's input cannot be held to a grammar, by whatever model; OutOfTime where a
    first look does not tell. `syntax`: lark or regex."""
    if len(definition.encode(errors="replace")) > MAX_GRAMMAR_BYTES:
        raise Unsupported(f"The grammar is longer than {MAX_GRAMMAR_BYTES} bytes.")
    trials = trials or Trials()
    with _in_time(trials):
        if syntax == "regex":
            grammar = LLMatcher.grammar_from_regex(definition)
            problem = regex_excess(definition) or trials.refusal(grammar) or trials.problem(grammar)
        else:
            problem = _lark_problem(definition, trials)
    if problem is not None:
        raise Unsupported(f"The grammar cannot be used: {_short(problem)}")


def _lark_problem(definition: str, trials: Trials) -> str | None:
    """Why a Lark grammar cannot be used, as it is or inside a JSON string, as some models write it."""
    problem = None
    for token in lark_tokens(definition):
        problem = problem or (regex_excess(token.text) if token.kind == "regex" else None)
        if token.kind in ("reference", "special") or token.text in ("%llguidance", "%json", "%lark", "%regex"):
            raise Unsupported(f"{token.text} cannot be used in a tool's grammar.")
    problem = problem or trials.whole_problem(LLMatcher.grammar_from_lark(definition))
    if problem is not None:
        return problem
    try:
        quoted = quoted_lark(definition)
    except Unsupported as error:
        raise Unsupported(f"{error} cannot be used in a tool's grammar.") from None
    return trials.whole_problem(LLMatcher.grammar_from_lark(quoted))


def guided(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as llguidance is given it: in this server's way to write JSON."""
    return {**_bounded(schema), "x-guidance": JSON_STYLE}


def json_grammar(schema: Mapping[str, Any]) -> str:
    """llguidance's grammar for a schema."""
    return LLMatcher.grammar_from_json_schema(json.dumps(guided(schema)))


_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
NEAR_ZERO = 1e-15


def _bounded(schema: Any) -> Any:
    """A schema with bounds that llguidance (1.9) keeps: it lets 0 through where one bound excludes it and the other is
    within 1 of it. There the bound becomes the number next to 0, by and large."""
    if isinstance(schema, list):
        return [_bounded(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {
        key: {name: _bounded(one) for name, one in value.items()}
        if key in GROUPS and isinstance(value, Mapping)
        else value
        if key in DATA
        else _bounded(value)
        for key, value in schema.items()
    }
    result |= kept_bounds(schema)
    for this, that, sign in (("Minimum", "Maximum", 1), ("Maximum", "Minimum", -1)):
        others = [_number(schema.get(that.lower())), _number(schema.get(f"exclusive{that}"))]
        if _number(schema.get(f"exclusive{this}")) == 0 and any(o is not None and abs(o) < 1 for o in others):
            del result[f"exclusive{this}"]
            given = _number(schema.get(this.lower())) or 0
            result[this.lower()] = given if given * sign > NEAR_ZERO else sign * NEAR_ZERO
    return result


def _number(value: Any) -> float | None:
    return value if is_number(value) else None


def _problem(schema: Mapping[str, Any], grammar: str, trials: Trials) -> str | None:
    if (problem := excess(schema)) is not None:
        return problem
    if (problem := (trials.whole_problem if is_risky(schema) else trials.refusal)(grammar)) is not None:
        return problem
    return "it requires itself, so that no output would have an end" if is_endless(schema) else None


def _refused(schema: Mapping[str, Any], trials: Trials, search: _Search | None = None) -> tuple[str, Place] | None:
    """What a schema is refused for, and the place; None where output can be held to it."""
    search = search or _Search(trials)
    if (problem := search.problem(schema)) is not None:
        return problem, search.place(schema, problem)
    if (problem := trials.problem(json_grammar(schema))) is not None:
        return problem, _tried_place(schema, trials)
    for place, pattern in _patterns(schema):
        if (problem := trials.problem(json_grammar(pattern))) is not None:
            return problem, place
    return None


def _patterns(schema: Mapping[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every text of a schema that has a pattern, alone, and the pattern's place. The same one comes once."""
    seen: set[str] = set()
    waiting: list[tuple[Place, Any]] = [((), schema)]
    while waiting:
        place, current = waiting.pop()
        if not isinstance(current, Mapping):
            continue
        if isinstance(current.get("pattern"), str):
            keywords = ("pattern", "minLength", "maxLength")
            text = {"type": "string", **{key: current[key] for key in keywords if key in current}}
            if (written := json.dumps(text)) not in seen:
                seen.add(written)
                yield (*place, "pattern"), text
        waiting += [(place + step, inner) for step, inner in _inner(current)]


def _tried_place(schema: Mapping[str, Any], trials: Trials) -> Place:
    """What leads to the innermost schema that cannot be followed by itself, and to the keyword that is likely why."""
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    place, current = Place(), schema
    found = True
    while found:
        found = False
        for step, inner in _inner(current):
            alone = {**definitions, **inner} if isinstance(inner, Mapping) else {}
            if trials.problem(json_grammar(alone)) is not None:
                place, current, found = place + step, inner, True
                break
    keyword = next((word for word in _COSTLY if word in current), None)
    return (*place, keyword) if keyword else place


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


Place = tuple[str | int, ...]
"""The keys and indices that lead to a part of a schema."""


class _Search:
    """For what a schema is refused for; so much of it and no more."""

    def __init__(self, trials: Trials, most: int = MAX_TRIED) -> None:
        self._trials = trials
        self.most = most
        self.tried = 0  # bytes

    @property
    def over(self) -> bool:
        return self.tried > self.most

    @property
    def late(self) -> bool:
        return self._trials.left <= 0 and not self._trials.first_look

    def problem(self, schema: Mapping[str, Any]) -> str | None:
        grammar = json_grammar(schema)
        self.tried += len(grammar) + (APART_BYTES if is_risky(schema) else STEP_BYTES)
        return _problem(schema, grammar, self._trials)

    def place(self, schema: Mapping[str, Any], problem: str) -> Place:
        """What leads to the innermost schema that is refused by itself, and to the keyword where the message names
        one. Raises OutOfTime."""
        definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        place, current = Place(), schema
        while True:
            for step, inner in _inner(current):
                if self.over or self.late:
                    return place
                if isinstance(inner, Mapping) and (found := self.problem({**definitions, **inner})) is not None:
                    place, current, problem = place + step, inner, found
                    break
            else:
                break
        keyword = re.search(r'Unimplemented keys: \["([^"]+)"', problem)
        if keyword and keyword.group(1) in current:
            return (*place, keyword.group(1))
        for word in ("pattern", "format", "oneOf", "multipleOf", "patternProperties", *_NUMBERS, "type"):
            if word in current and word.lower() in problem.lower().replace("regex parse", "pattern"):
                return (*place, word)
        return place


def _written(place: Place) -> str:
    """`properties.a.anyOf[0]`."""
    path = ""
    for step in place:
        path = f"{path}[{step}]" if isinstance(step, int) else _joined(path, step)
    return path


def _without(schema: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A copy without a keyword; where the place is a schema of its own, with one there that allows everything."""
    keyword, rest = str(place[0]), place[1:]
    given = schema[keyword]
    if not rest:
        return {key: value for key, value in schema.items() if key != keyword}
    if keyword not in GROUPS and keyword not in _LISTS:
        return {**schema, keyword: _without(given, rest)}
    step, inside = rest[0], rest[1:]
    changed = _without(given[step], inside) if inside else {}
    if isinstance(given, list):
        return {**schema, keyword: [changed if index == step else inner for index, inner in enumerate(given)]}
    return {**schema, keyword: {**given, step: changed}}


_NUMBERS = ("exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum", "const", "enum")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_COSTLY = ("pattern", "enum", "const", "minLength", "minItems", "anyOf", "oneOf", "properties")


def _inner(schema: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    for keyword in GROUPS:
        if isinstance(given := schema.get(keyword), Mapping):
            yield from (((keyword, name), inner) for name, inner in given.items())
    for keyword in _LISTS:
        if isinstance(given := schema.get(keyword), list):
            yield from (((keyword, index), inner) for index, inner in enumerate(given))
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield (keyword,), schema[keyword]


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
