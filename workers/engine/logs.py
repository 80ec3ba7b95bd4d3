"""llama.cpp's log: warnings are ours too, the rest is for debugging, and a failed load explains itself by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp.llama_cpp as llama
import structlog

log = structlog.get_logger("llama.cpp")

DEBUG, WARN, ERROR, CONTINUED = 1, 3, 4, 5  # ggml_log_level

EXPECTED = ("possible training context overflow",)  # it takes the cells of all sequences for those of one


class Router:
    """Joins the pieces llama.cpp writes into lines and passes each on at its level."""

    def __init__(self, install: Callable[[Any, Any], None]) -> None:
        """`install` makes a callback hear one of llama.cpp's libraries."""
        self._install = install
        self._installed = False
        self._level = 0
        self._line = ""
        self._errors: list[str] | None = None
        self._lock = threading.RLock()  # around loads: llama.cpp has one log for all
        self._callback = llama.llama_log_callback(self._receive)

    @contextmanager
    def errors(self) -> Iterator[list[str]]:
        """Collects the error lines written inside. One thread at a time."""
        with self._lock:
            if not self._installed:
                self._install(self._callback, None)
                self._installed = True
            self._errors = []
            try:
                yield self._errors
            finally:
                self._errors = None

    def _receive(self, level: int, text: bytes, _: Any) -> None:
        if level != CONTINUED:
            self._level = level
        self._line += text.decode(errors="replace")
        if not self._line.endswith("\n"):
            return
        line, self._line = self._line.strip(), ""
        if self._level == DEBUG or not line.strip("."):  # every tensor and graph; progress dots
            return
        if self._level == ERROR and self._errors is not None:
            self._errors.append(line)
        elif self._level in (WARN, ERROR) and not line.endswith(EXPECTED):
            log.warning(line)
        else:
            log.debug(line)


_router = Router(llama.llama_log_set)
errors = _router.errors
