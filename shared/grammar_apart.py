"""Grammars that are better tried in a process of their own (`shared.grammar_program`): some schemas', and all in Lark.

llguidance may come to no end over a Lark grammar, and holds the interpreter meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from shared.excess import multiples_may_meet
from shared.grammar_program import CPU_SECONDS
from shared.trial import Trials

MAX_LEVELS = 600  # of references one inside another; some thousands end a process, as llguidance recurses
MAX_MERGED = 6  # patterns that may have to hold for the same text; each one more doubles llguidance's work
START_SECONDS = 0.1  # of a processor, for a process that does nothing
WALL_SECONDS = 5 * CPU_SECONDS  # on a busy machine
_AT_ONCE = threading.BoundedSemaphore(2)  # processes
TOO_MUCH = "it is too large to be followed: references or rules are too deep, or too many patterns hold for one text"
TOO_MANY = "the request has more of them that are hard to follow than can be tried"


def is_risky(schema: Mapping[str, Any]) -> bool:
    """Whether llguidance might not come to an end with a schema, as far as a look can tell."""
    references: set[str] = set()
    patterns: set[str] = set()
    merges, deepest = False, 0
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    while waiting:
        value, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(value, Mapping):
            merges = merges or "allOf" in value or "$ref" in value
            references |= {str(value["$ref"])} if "$ref" in value else set()
            patterns |= {str(value[keyword]) for keyword in ("pattern", "format") if keyword in value}
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
    deep = len(references) * deepest > MAX_LEVELS
    return deep or (merges and len(patterns) > MAX_MERGED) or multiples_may_meet(schema)


def tried_apart(grammar: str, trials: Trials) -> str | None:
    """Why a grammar cannot be used; None where it can. Takes a process, 0.1 s, at worst some seconds."""
    if trials.apart_seconds <= 0:
        return TOO_MANY
    try:
        problem, seconds = _outcome(grammar)
    except (OSError, subprocess.TimeoutExpired):  # this machine's fault, perhaps: nothing to remember
        problem, seconds = TOO_MUCH, float(CPU_SECONDS)
    trials.apart_seconds -= max(seconds, START_SECONDS)
    return problem


@lru_cache(maxsize=256)
def _outcome(grammar: str) -> tuple[str | None, float]:
    """Why a grammar cannot be used, and what it took of a processor to see that."""
    with _AT_ONCE:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "shared.grammar_program"],
            input=grammar,
            capture_output=True,
            text=True,
            timeout=WALL_SECONDS,
            check=False,
            env={key: os.environ[key] for key in ("PYTHONPATH", "LD_LIBRARY_PATH") if key in os.environ},
        )
    if ended.returncode:
        return TOO_MUCH, float(CPU_SECONDS)
    problem, seconds = json.loads(ended.stdout)
    return problem, seconds
