"""Grammars are tried in processes of their own (`shared.grammar_program`): llguidance holds the interpreter over some
for seconds, and comes to no end over others.

A process is kept for the next grammar, and another one begins where it has ended.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shared.excess import multiples_may_meet

MAX_LEVELS = 600  # of references one inside another; some thousands end a process, as llguidance recurses
MAX_MERGED = 6  # patterns that may have to hold for the same text; each one more doubles llguidance's work
CPU_SECONDS = 3.0  # for one grammar
BUSY = 5  # times as long it may take on a busy machine, and a second to begin
_AT_ONCE = threading.BoundedSemaphore(3)  # processes: as many as threads ask (`shared.lanes`)
TOO_MUCH = "it is too large to be followed: references or rules are too deep, or too many patterns hold for one text"


class Outcome(NamedTuple):
    problem: str | None  # why a grammar cannot be used
    seconds: float  # of a processor that it took to see that
    sure: bool = True  # False where there was not the time, or this machine is at fault


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


def tried_apart(grammars: Sequence[str], looks: Sequence[str], seconds: float = CPU_SECONDS) -> Outcome:
    """Whether llguidance takes all of some grammars ("validated" among the `looks`), and whether texts by them can be
    written ("tried"), as far as `seconds` of a processor can tell."""
    most = min(seconds, CPU_SECONDS)
    question = json.dumps([grammars, looks, most]).encode() + b"\n"
    with _AT_ONCE:
        while True:
            begun = time.monotonic()
            try:
                process = _taken()
            except OSError:
                return Outcome(TOO_MUCH, most, sure=False)
            if answer := _answer(process, question, 1 + BUSY * most):
                _idle.append(process)
                return Outcome(*json.loads(answer))
            code = _ended(process)
            if code != 0:  # else it had answered as many as one process may
                break
    if code == -signal.SIGPROF:
        return Outcome(TOO_MUCH, most, sure=seconds >= CPU_SECONDS)
    return Outcome(TOO_MUCH, min(most, time.monotonic() - begun), sure=code != -signal.SIGKILL)


_idle: list[subprocess.Popen[bytes]] = []
_lock = threading.Lock()
os.register_at_fork(after_in_child=_idle.clear)  # they are the parent's


@atexit.register
def _end_all() -> None:
    while _idle:
        _ended(_idle.pop())


def _taken() -> subprocess.Popen[bytes]:
    """One that waits for a grammar."""
    with _lock:
        while _idle:
            if (known := _idle.pop()).poll() is None:
                return known
            _ended(known)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "shared.grammar_program"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={key: os.environ[key] for key in ("PYTHONPATH", "LD_LIBRARY_PATH") if key in os.environ},
    )


def _answer(process: subprocess.Popen[bytes], question: bytes, wall_seconds: float) -> bytes:
    """A line; b"" where the process has ended, or was ended as it takes too long."""
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(question)
        process.stdin.flush()
    except OSError:
        return b""
    due = select.poll()
    due.register(process.stdout, select.POLLIN)
    if not due.poll(wall_seconds * 1000):
        process.kill()
        return b""
    return process.stdout.readline()


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit status of one that is at its end."""
    for pipe in (process.stdin, process.stdout):
        assert pipe
        try:
            pipe.close()
        except OSError:  # what it has not read any more
            continue
    return process.wait()
