"""A program of its own: renders chat templates for `workers.templates`, where time and memory can be taken away.

A template comes with a model file, from anywhere. `workers.template` keeps it from running code; what it computes is
bounded here, by the kernel: a request that takes too much computing ends this process, and memory is limited.

Requests are marshalled tuples: only the worker writes them. Answers are read by the worker, so they are plain: one byte
that says what they are, and text.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # started by its path, with nothing of the environment
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:
    from workers.template import ChatTemplate

LENGTH = struct.Struct("<Q")
TEXT, TRAITS, REFUSED = b"t", b"p", b"r"
LOAD, RENDER = 0, 1
TOO_MUCH_MEMORY = "it takes too much memory"


def main() -> None:
    cpu_seconds, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which may still need this process
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    templates: dict[int, ChatTemplate] = {}
    _answer(templates, (LOAD, -1, "{{ messages[0].content }}", "", "", {}))  # imports what is needed, before any limit
    _limit(memory_bytes)
    while header := requests.read(LENGTH.size):
        request = marshal.loads(requests.read(*LENGTH.unpack(header)))  # noqa: S302  our own worker's
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # its signal ends a process that does not handle it
        kind, text = _answer(templates, request)
        encoded = text.encode(errors="surrogatepass")
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(LENGTH.pack(len(encoded)) + kind + encoded)
        answers.flush()
        if text == TOO_MUCH_MEMORY:
            break  # what was left of it would be missing for the next request


def _answer(templates: dict[int, ChatTemplate], request: tuple[Any, ...]) -> tuple[bytes, str]:
    import msgspec

    from workers.probe import probe
    from workers.template import ChatTemplate, TemplateError

    try:
        if request[0] == RENDER:
            _, number, messages, variables = request
            return TEXT, templates[number].render(messages, variables)
        _, number, source, bos, eos, variables = request
        template = templates[number] = ChatTemplate(source, bos_token=bos, eos_token=eos)
        try:
            template.render([{"role": "user", "content": "Hello"}], variables)
        except TemplateError as error:
            raise TemplateError(f"its chat template refuses a plain message: {error}") from error
        return TRAITS, msgspec.json.encode(probe(template, variables)).decode()
    except TemplateError as error:
        return REFUSED, TOO_MUCH_MEMORY if isinstance(error.__cause__, MemoryError) else str(error)
    except MemoryError:
        return REFUSED, TOO_MUCH_MEMORY
    except Exception as error:  # whatever a template can make Jinja raise
        return REFUSED, f"{type(error).__name__}: {error}"[:1000]


def _limit(memory_bytes: int) -> None:
    limits = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
    for what, most in limits.items():
        with contextlib.suppress(OSError, ValueError):  # macOS knows no limit of memory
            resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
