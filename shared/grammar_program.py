"""Tries one grammar in a process of its own: llguidance may take for ever over one, or all of the stack.

It reads a grammar from standard input and prints a JSON array: why the grammar cannot be used, null where it can, and
the seconds of a processor that it took to see that. The kernel ends the process when it takes too much.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import threading
import time

from llguidance import LLMatcher

from shared.trial import LIMITS, Trials

CPU_SECONDS = 3
MEMORY_BYTES = 2 * 1024**3  # of address space
LIMITED = {resource.RLIMIT_CPU: CPU_SECONDS, resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CORE: 0}
STACK_BYTES = 4 * 1024**2  # half of what threads of workers and front ends have


def problem(grammar: str) -> str | None:
    """Why a grammar cannot be used; None where it can."""
    refused, messages = LLMatcher.validate_grammar_with_warnings(grammar, limits=LIMITS)
    return str(messages[0]) if refused else Trials(1).problem(grammar)


def main() -> None:
    for what, most in LIMITED.items():
        with contextlib.suppress(OSError, ValueError):  # a lower limit stays; macOS knows none of memory
            resource.setrlimit(what, (most, most))
    grammar = sys.stdin.read()
    begun = time.process_time()
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=lambda: print(json.dumps([problem(grammar), time.process_time() - begun])))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
