"""Logs: lines for people on a terminal, JSON elsewhere. They carry ids, never content."""

from __future__ import annotations

import logging
import sys

import structlog

from shared.settings import Settings


def configure_logs(settings: Settings, process: str) -> None:
    """Sets up structlog for this process, and the level of the libraries that use `logging`."""
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    pretty = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.dict_tracebacks if not pretty else structlog.dev.set_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")
