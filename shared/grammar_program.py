"""Tries grammars in a process of its own: llguidance may take for ever over one, or all of the stack.

It reads a JSON array a line: the grammars, all of them to be possible; the looks to take at each (LOOKS); and how many
seconds of a processor that may take. It answers with one a line: why one cannot be
used, null where all can, and the seconds that it took to see that. The kernel ends the process when it takes more, or
too much memory.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
import threading
import time

from shared.trial import tried, validated

LOOKS = {"validated": validated, "tried": tried}
MEMORY_BYTES = 2 * 1024**3  # of address space
LIMITED = {resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CORE: 0}
STACK_BYTES = 4 * 1024**2  # half of what threads of workers and front ends have
GRAMMARS = 500  # then another process begins anew: memory that is not given back stays within bounds


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks, and ends this process with them
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for what, most in LIMITED.items():
        with contextlib.suppress(OSError, ValueError):  # a lower limit stays; macOS knows none of memory
            resource.setrlimit(what, (most, most))
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=_serve)
    thread.start()
    thread.join()


def _serve() -> None:
    for _ in range(GRAMMARS):
        if not (line := sys.stdin.buffer.readline()):
            break
        grammars, looks, seconds = json.loads(line)
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal ends a process that does not handle it
        problem = _problem(grammars, looks)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps([problem, time.process_time() - begun]) + "\n")
        sys.stdout.flush()


def _problem(grammars: list[str], looks: list[str]) -> str | None:
    found = (LOOKS[look](grammar) for grammar in grammars for look in looks)
    return next((problem for problem in found if problem is not None), None)


if __name__ == "__main__":
    main()
