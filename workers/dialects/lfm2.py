"""LFM2: calls as a list of Python calls, `<|tool_call_start|>[f(a="x")]<|tool_call_end|>`.

Source: the model card of LiquidAI/LFM2-8B-A1B. Its template shows no calls, so they are written into the content.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.dialects.arguments import ArgumentsBroken, dump, parse_json, types_of, variants
from workers.dialects.calls import Call, Names, Parameters, listed, odd_key, read_key
from workers.dialects.marked import MarkedDialect
from workers.dialects.parser import Calls
from workers.dialects.stream import Markers, Steps
from workers.dialects.toolbox import OfferedTool

if TYPE_CHECKING:
    from workers.grammar.builder import GrammarBuilder

BEGIN, END = "<|tool_call_start|>", "<|tool_call_end|>"


@dataclass(frozen=True)
class PythonCalls:
    triggers: tuple[str, ...] = (BEGIN,)

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        source = calls.source
        yield from source.space()
        if (yield from source.next_is("[")) is None:
            return False
        while True:
            yield from source.space()
            if not (yield from self._read_call(calls)):
                return False
            yield from source.space()
            after = yield from source.next_is(",", "]")
            if after is None:
                return False
            if after == "]":
                yield from source.space()
                yield from source.next_is(END)
                return True

    def _read_call(self, calls: Calls) -> Steps[bool]:
        source = calls.source
        name = yield from source.word(Markers("("))
        arguments = calls.named(name[0].strip()) if name else None
        if arguments is None:
            return False
        equals = Markers("=")
        while True:
            key = yield from odd_key(calls, arguments, equals)  # the white space may be its own
            if key is None:
                yield from source.space()
                if (yield from source.next_is(")")) is not None:
                    calls.end()
                    return True
                if (key := (yield from read_key(calls, arguments, equals))) is None:
                    return False
            yield from source.space()
            value: list[str] = []
            if not (yield from source.python_value(value.append)):
                return False
            arguments.value(key[0], _literal("".join(value).strip()))
            yield from source.space()
            if (yield from source.next_is(",")) is not None:
                yield from source.next_is(" ")

    def write(self, calls: Sequence[Call]) -> str:
        written = (
            f"{call.name}({', '.join(f'{key}={_python(v)}' for key, v in call.arguments.items())})" for call in calls
        )
        return f"{BEGIN}[{', '.join(written)}]{END}"

    def rule(self, g: GrammarBuilder) -> str:
        one = g.rule("call", g.either(self._call_rule(g, tool) for tool in g.tools))
        return g.sequence(g.text("["), g.calls(one, g.sequence(g.text(", "), one)), g.text(f"]{END}"))

    def _call_rule(self, g: GrammarBuilder, tool: OfferedTool) -> str:
        root = tool.parameters

        def one(key: str | Names, schema: Any) -> str:
            if isinstance(key, Names):
                return g.sequence(g.terminal(key.terminal), g.text("="), g.json(schema, root))
            if tool.grammar is not None:
                value = g.custom_input(tool, quoted=True)
            elif types_of(schema, root) == {"boolean"} and "enum" not in schema and "const" not in schema:
                value = g.either((g.text("True"), g.text("False")))
            else:
                value = g.json(schema, root)
            return g.sequence(g.text(f"{key}="), value)

        return g.either(
            g.sequence(g.text(f"{tool.name}("), listed(g, parameters, one, ", "), g.text(")"))
            for parameters in Parameters.of_all(variants(root), root)
        )


def _python(value: Any) -> str:
    """JSON-like values as Python writes them, strings in double quotes as the model does."""
    if isinstance(value, str):
        return dump(value)
    return repr(value)


def _literal(text: str) -> str:
    """JSON for a Python literal, as it is where it is JSON. Raises ArgumentsBroken."""
    try:
        parse_json(text)
    except ArgumentsBroken:
        pass
    else:
        return text
    try:
        return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ArgumentsBroken(f"not a Python literal: {error}") from error


LFM2 = MarkedDialect(name="lfm2", calls=PythonCalls())


def detect(template: str) -> MarkedDialect | None:
    if "<|tool_list_start|>" in template or BEGIN in template:
        return LFM2
    return None
