"""LFM2: calls as a list of Python calls, `<|tool_call_start|>[f(a="x")]<|tool_call_end|>`.

Source: the model card of LiquidAI/LFM2-8B-A1B. Its template shows no calls, so they are written into the content.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.dialects.arguments import ArgumentsBroken, dump, parse_json, types_of, variants
from workers.dialects.calls import FREE_NAME, Call, listed_freely, parameters_of, read_key
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
        while True:
            yield from source.space()
            if (yield from source.next_is(")")) is not None:
                calls.end()
                return True
            key = yield from read_key(calls, arguments, Markers("="))
            if key is None:
                return False
            yield from source.space()
            value: list[str] = []
            if not (yield from source.python_value(value.append)):
                return False
            arguments.value(key[0], _literal("".join(value)))
            yield from source.space()
            yield from source.next_is(",")

    def write(self, calls: Sequence[Call]) -> str:
        written = (
            f"{call.name}({', '.join(f'{key}={_python(v)}' for key, v in call.arguments.items())})" for call in calls
        )
        return f"{BEGIN}[{', '.join(written)}]{END}"

    def rule(self, g: GrammarBuilder) -> str:
        one = g.rule("call", g.either(self._call_rule(g, tool) for tool in g.tools))
        return g.sequence(g.text("["), g.calls(one, g.sequence(g.text(", "), one)), g.text(f"]{END}"))

    def _call_rule(self, g: GrammarBuilder, tool: OfferedTool) -> str:
        return g.either(self._variant_rule(g, tool, variant) for variant in variants(tool.parameters))

    def _variant_rule(self, g: GrammarBuilder, tool: OfferedTool, variant: Mapping[str, Any]) -> str:
        root = tool.parameters
        parameters = []
        for key, schema, required in parameters_of(variant):
            if key is None:
                one = g.sequence(g.terminal(FREE_NAME), g.text("="), g.json(schema, root))
                return g.sequence(g.text(f"{tool.name}("), listed_freely(g, one, ", ", variant), g.text(")"))
            if tool.grammar is not None:
                value = g.custom_input(tool, quoted=True)
            elif types_of(schema, root) == {"boolean"} and "enum" not in schema and "const" not in schema:
                value = g.either((g.text("True"), g.text("False")))
            else:
                value = g.json(schema, root)
            parameters.append((g.rule("parameter", g.sequence(g.text(f"{key}="), value)), required))
        return g.sequence(g.text(f"{tool.name}("), g.listed(parameters, ", "), g.text(")"))


def _python(value: Any) -> str:
    """JSON-like values as Python writes them, strings in double quotes as the model does."""
    if isinstance(value, str):
        return dump(value)
    return repr(value)


def _literal(text: str) -> Any:
    try:
        return parse_json(text)
    except ArgumentsBroken:
        pass
    try:
        value = ast.literal_eval(text)
        dump(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ArgumentsBroken(f"not a Python literal: {error}") from error
    return value


LFM2 = MarkedDialect(name="lfm2", calls=PythonCalls())


def detect(template: str) -> MarkedDialect | None:
    if "<|tool_list_start|>" in template or BEGIN in template:
        return LFM2
    return None
