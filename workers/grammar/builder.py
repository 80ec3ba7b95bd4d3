"""Puts a grammar together in llguidance's variant of Lark (docs/syntax.md there).

Dialects describe their output with it: literal text becomes special tokens where the vocabulary has them, free text
runs until a marker and cannot hold one, and JSON is held to its schema. Every method returns an expression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from shared.grammar import guided
from shared.quoted import quoted_lark
from shared.unsupported import Unsupported
from workers.dialects.base import Opening
from workers.dialects.toolbox import INPUT, OfferedTool, Toolbox
from workers.grammar.parts import Parts
from workers.grammar.vocabulary import Vocabulary

ANY = "/(?s:.*)/"
MAX_JSON_SIZE = 8 * 1024 * 1024  # bytes of all schemas in one grammar: what they refer to stands in each of them
MAX_CALLS = 32  # of one answer, where the request names no number


class GrammarError(ValueError):
    """A request whose output cannot be held to what it asks for; the message says why."""


class GrammarBuilder:
    """The grammar of one request's output."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        opening: Opening = Opening.ANSWER,
        may_reason: bool = True,
        tools: Toolbox | None = None,
        must_call: bool = False,
        parallel: bool = True,
        max_calls: int | None = None,
        format: Mapping[str, Any] | None = None,
    ) -> None:
        """`format`: the JSON schema of an answer in words; `tools`: those that may be called."""
        self.opening = opening
        self.may_reason = may_reason
        self.tools = tools or Toolbox()
        self.must_call = must_call
        self.format = format
        self._most_calls = min(max_calls or MAX_CALLS, MAX_CALLS) if parallel else 1
        self._vocabulary = vocabulary
        self._rules: list[str] = []
        self._known: dict[str, str] = {}
        self._parts: dict[
            int, tuple[Mapping[str, Any], Parts]
        ] = {}  # by the schema's id; with it, so that it stays its own
        self._json_size = 0
        self._grammars: list[dict[str, str]] = []
        self._may_force = True  # in a Lark grammar what is forced may have no end: /a+/ "ab", as lexers are greedy

    def finish(self, start: str) -> str:
        """The whole grammar, as `LLMatcher` takes it."""
        options = json.dumps({"no_forcing": not self._may_force})
        lark = "\n".join([f"%llguidance {options}", f"start: {start or _EMPTY}", *self._rules])
        return json.dumps({"grammars": [{"lark_grammar": lark}, *self._grammars]})

    # expressions

    def text(self, text: str) -> str:
        """Exactly this text."""
        return " ".join(
            f"<[{part}]>" if isinstance(part, int) else _literal(part) for part in self._vocabulary.split(text)
        )

    def sequence(self, *parts: str) -> str:
        return " ".join(part for part in parts if part)

    def either(self, options: Iterable[str]) -> str:
        unique = list(dict.fromkeys(option or _EMPTY for option in options))
        return unique[0] if len(unique) == 1 else f"({' | '.join(unique)})"

    def optional(self, expression: str) -> str:
        return f"({expression})?" if expression else ""

    def any_number(self, expression: str) -> str:
        return f"({expression})*"

    def counted(self, expression: str, least: int, most: int | None) -> str:
        """So many times at least, and at most where there is a most."""
        return f"({expression}){{{least},{'' if most is None else most}}}"

    def calls(self, one: str, another: str) -> str:
        """As many calls as the request allows, at least one."""
        if self._most_calls == 1:
            return one
        return f"{one} ({another}){{0,{self._most_calls - 1}}}"

    def listed(
        self, members: Sequence[tuple[str, bool]], separator: str = "", *, least: int = 0, most: int | None = None
    ) -> str:
        """Members in order with separators between them; (expression, whether it must be there).

        `least` and `most`: how many there are. Where these are neither 0 nor 1, those members that come first are the
        ones that are there: less than would be possible, but never more. Raises GrammarError where nothing is possible.
        """
        least = max(least, sum(required for _, required in members))
        if least > (len(members) if most is None else min(most, len(members))):
            raise GrammarError("A call needs more arguments than its parameters allow.")
        if most == 1 and len(members) > 1:
            alone = [expression for expression, required in members if required] or [one for one, _ in members]
            return self.either(alone if least else (*alone, ""))
        needed = sum(required for _, required in members)
        missing, spare = least - needed, len(members) if most is None else most - needed
        kept: list[tuple[str, bool]] = []
        for expression, required in members:
            missing, spare = missing - (not required), spare - (not required)
            if required or spare >= 0:
                kept.append((expression, required or (least > 1 and missing >= 0)))
        if not kept:
            return ""
        listed, may_lack = self._listed(kept, self.text(separator))
        return self.optional(listed) if may_lack and not least else listed

    def _listed(self, members: Sequence[tuple[str, bool]], between: str) -> tuple[str, bool]:
        """One member at least, and whether there may be none: in halves, so that no rule is deep inside others, where
        llguidance would run out of its stack."""
        if all(required for _, required in members):
            return (f" {between} " if between else " ").join(expression for expression, _ in members), False
        if len(members) == 1:
            return members[0][0], True
        (first, no_first), (second, no_second) = (
            self._listed(half, between) for half in (members[: len(members) // 2], members[len(members) // 2 :])
        )
        both = self.sequence(between, second)
        listed = self.sequence(first, self.optional(both) if no_second else both)
        return self.rule("listed", self.either((listed, second)) if no_first else listed), no_first and no_second

    def rule(self, name: str, expression: str) -> str:
        """A rule for an expression that is used more than once. `name` is only for people."""
        return self._named(name, expression, "")

    def recursive(self, name: str, expression: Callable[[str], str]) -> str:
        """A rule whose expression may name the rule itself: it is made from the rule's name."""
        rule = f"{name}_{len(self._known)}"
        self._known[f"recursive {rule}"] = rule
        self._rules.append(f"{rule}: {expression(rule) or _EMPTY}")
        return rule

    def terminal(self, regex: str) -> str:
        """A token of the grammar, written as Lark writes terminals."""
        return self._named("T", regex, "")

    def until(self, marker: str, *, without: Sequence[str] = (), not_first: Sequence[str] = ()) -> str:
        """Any text, and the marker that ends it. `without`: other markers that it cannot hold either."""
        parts = self._vocabulary.split(marker)
        if isinstance(parts[0], int):
            return self.sequence(self._free((marker, *without), not_first), self.text(marker))
        others = tuple(mark for mark in without if mark != marker)
        body = f"{self._free(others, not_first)} {_literal(str(parts[0]))}"
        lazy = self._named("until", self._named("T", body, ""), "[lazy]")
        return self.sequence(lazy, self.text("".join(map(self._written, parts[1:]))))

    def until_pattern(self, regex: str) -> str:
        """Any text up to the first match of a regular expression, with it."""
        return self._named("until", self._named("T", f"{ANY} /{_slashed(regex)}/", ""), "[lazy]")

    def answer(
        self, *, without: Sequence[str] = (), not_first: Sequence[str] = (), without_pattern: str | None = None
    ) -> str:
        """What the model says to the user: the request's format, or any text."""
        if self.format is not None:
            return self.json(self.format, self.format)
        return self._free(without, not_first, without_pattern)

    def line_breaks(self) -> str:
        """Line breaks before a call or an answer in JSON. Free text has its own."""
        free_text = self.format is None and not self.must_call
        return "" if free_text else self.optional(self.terminal(r"/\n{1,3}/"))

    def json(self, schema: Any, root: Mapping[str, Any]) -> str:
        """A JSON value by `schema`, whose references lead into `root`. Raises GrammarError where all of them together
        are too long to be followed."""
        written = json.dumps(guided(self._standalone(schema, root)))
        if (key := f"json {written}") not in self._known:
            self._json_size += len(written)
            if self._json_size > MAX_JSON_SIZE:
                raise GrammarError("The schemas of what may be called are too large with all that they refer to.")
            self._known[key] = self._named("json", f"%json {written}", "")
        return self._known[key]

    def arguments(self, tool: OfferedTool) -> str:
        """A call's arguments as a JSON object."""
        if tool.custom and (custom := self.custom_input(tool, quoted=True)):
            return self.sequence(self.text(f'{{"{INPUT}": '), custom, self.text("}"))
        schema = tool.parameters
        return self.json(schema, schema)

    def custom_input(self, tool: OfferedTool, *, quoted: bool = False) -> str:
        """A custom tool's input by its grammar, "" where it has none. `quoted`: as a JSON string.

        Raises GrammarError where a grammar cannot be followed inside a JSON string.
        """
        if (grammar := tool.grammar) is None:
            return ""
        if grammar.syntax == "regex":
            if quoted:
                return self.json({"type": "string", "pattern": f"^(?:{grammar.definition})$"}, {})
            return self._named("T", f"/{_slashed(grammar.definition)}/", "")
        try:
            definition = quoted_lark(grammar.definition) if quoted else grammar.definition
        except Unsupported as error:
            raise GrammarError(f"The grammar of the tool {tool.tool.name} cannot be followed here: {error}") from error
        name = f"custom_{len(self._grammars)}"
        self._grammars.append({"name": name, "lark_grammar": definition})
        self._may_force = False
        return self.sequence('"\\""', f"@{name}", '"\\""') if quoted else f"@{name}"

    def _standalone(self, schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
        """A part of a schema with what its references lead to."""
        if schema is root:
            return dict(root)
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        if not isinstance(schema, Mapping):
            return {}
        if '"$ref"' not in json.dumps(schema):
            return schema
        if id(root) not in self._parts:
            self._parts[id(root)] = root, Parts(root)
        return self._parts[id(root)][1].alone(schema)

    def _free(self, without: Sequence[str], not_first: Sequence[str] = (), pattern: str | None = None) -> str:
        """A terminal for any text, also none, that does not hold (or begin with) certain markers."""
        banned = [re.escape(marker).replace("/", r"\/") for marker in dict.fromkeys(without)]
        banned += [_slashed(pattern)] if pattern else []
        regex = ANY
        if banned:
            regex += f" & ~/(?s:.*)({'|'.join(banned)})(?s:.*)/"
        if not_first:
            first = "|".join(re.escape(marker).replace("/", r"\/") for marker in not_first)
            regex += rf" & ~/[ \t\r\n]*({first})(?s:.*)/"
        return self._named("T", regex, "")

    def _written(self, part: str | int) -> str:
        if isinstance(part, str):
            return part
        return next(text for text, token in self._vocabulary.special.items() if token == part)

    def _named(self, name: str, expression: str, options: str) -> str:
        key = f"{options}{name.isupper()}{expression}"
        if key not in self._known:
            self._known[key] = f"{name}_{len(self._known)}"
            self._rules.append(f"{self._known[key]}{options}: {expression or _EMPTY}")
        return self._known[key]


_EMPTY = '""'


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _slashed(regex: str) -> str:
    """A regular expression between slashes: bare slashes and line breaks are escaped."""
    return re.sub(r"\\.|/|\n", lambda m: {"/": r"\/", "\n": r"\n"}.get(m.group(), m.group()), regex, flags=re.DOTALL)
