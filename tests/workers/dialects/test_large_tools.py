"""Tools that are large, or many: their grammars are compiled, or refused, but take no process down.

llguidance recurses over rules inside rules, and a stack that is used up ends the process without a word; so this is
tried in another one.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shared.schema.tools import FunctionTool
from tests.workers.dialects.samples import SAMPLES
from tests.workers.dialects.walks import MARKERS, vocabulary
from workers.dialects.base import Opening
from workers.dialects.toolbox import Toolbox
from workers.grammar.grammars import Grammars, demand

DIALECTS = {type(getattr(sample.dialect, "calls", sample.dialect)): sample.dialect for sample in SAMPLES}
"""One of each way to write calls."""


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _texts(count: int) -> dict[str, Any]:
    return {f"p{n}": {"type": "string"} for n in range(count)}


def _choices() -> dict[str, Any]:
    return {"type": "string", "enum": list(_texts(1000))}


def _many_tools() -> list[dict[str, Any]]:
    return [_object({**_texts(2), "n": {"type": "integer"}}, ["p0"]) for _ in range(1000)]


SHAPES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "3000 required": lambda: [_object(_texts(3000), list(_texts(3000)))],
    "every other one required": lambda: [_object(_texts(3000), list(_texts(3000))[::2])],
    "2000 optional": lambda: [_object(_texts(2000), [])],
    "2000 optional inside one": lambda: [_object({"a": _object(_texts(2000), [])}, ["a"])],
    "1000 choices": lambda: [_object({"a": _choices(), "b": {"type": "array", "items": _choices()}}, ["a", "b"])],
    "1000 tools": _many_tools,
}


def compile_in_a_thread(shape: str) -> None:
    """Prints the name of each dialect before its grammar is compiled as a worker does it: in a thread."""
    schemas = SHAPES[shape]()
    tools = Toolbox([FunctionTool(name=f"f{n}", parameters=schema) for n, schema in enumerate(schemas)])
    grammars = Grammars(vocabulary(MARKERS))
    for dialect in DIALECTS.values():
        print(dialect.name, flush=True)

        def compiled(dialect: Any = dialect) -> None:
            grammars.matcher(grammars.grammar(dialect, demand(tools), Opening.ANSWER))

        thread = threading.Thread(target=compiled)
        thread.start()
        thread.join()
    print("all", flush=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_tool_takes_a_process_down(shape: str) -> None:
    done = subprocess.run([sys.executable, "-m", __name__, shape], capture_output=True, text=True, check=False)
    assert (done.stdout.split()[-1:], done.returncode, done.stderr) == (["all"], 0, "")


if __name__ == "__main__":
    compile_in_a_thread(sys.argv[1])
