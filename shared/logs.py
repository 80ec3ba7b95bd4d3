"""Logs: lines for people on a terminal, JSON elsewhere. They carry ids, and content only with LOG_CONTENT=1.

What an exception says may repeat what somebody wrote, and its frames' variables hold it, so a logged exception is its
type and its stack; only those that cannot know any content say more.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator

import structlog
from redis.exceptions import RedisError
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.settings import Settings

HARMLESS = (OSError, RedisError, ImportError)
"""Exceptions that speak of the system."""

_COMMAND = re.compile(r"Command # \d+ \(.*\) of pipeline", re.DOTALL)  # redis-py repeats all its arguments


def configure_logs(settings: Settings, process: str) -> None:
    """Sets up structlog for this process, and the level and form of the libraries that use `logging`."""
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    pretty = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _told(content=settings.log_content),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LibraryFormatter(content=settings.log_content))
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])
    # its one warning repeats the subprotocols that a page offers, and a page's key is one of them
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)


def describe(error: BaseException, *, content: bool) -> str:
    """An exception with its stack and its causes; what it says only where that is harmless or `content` is wanted."""
    if content:
        return "".join(traceback.format_exception(error)).rstrip()
    return "\n".join(_stacks(error, set()))


class LibraryFormatter(logging.Formatter):
    """Lines of libraries: `NAME: MESSAGE`. Their exceptions are told as ours are."""

    def __init__(self, *, content: bool) -> None:
        super().__init__("%(name)s: %(message)s")
        self._content = content

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        if self._content:
            return super().format(record)
        arguments = record.args if isinstance(record.args, tuple) else ()
        if any(isinstance(argument, BaseException) for argument in arguments):
            shown = tuple(_message(value) if isinstance(value, BaseException) else value for value in arguments)
            record = logging.makeLogRecord({**record.__dict__, "args": shown})
        text = record.getMessage()
        if record.name == "asyncio":
            text = text.partition("\n")[0]  # below it: tasks and handles, with what they hold
        error = record.exc_info[1] if record.exc_info else None
        return f"{record.name}: {text}" + (f"\n{describe(error, content=False)}" if error else "")


def _told(*, content: bool) -> Processor:
    def tell(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        error = event.pop("exc_info", None)
        if error:
            error = error if isinstance(error, BaseException) else sys.exc_info()[1]
        if isinstance(error, BaseException):
            event["exception"] = describe(error, content=content)
        if not content and isinstance(event.get("error"), str):
            event["error"] = _COMMAND.sub("A command of a pipeline", event["error"])
        return event

    return tell


def _stacks(error: BaseException, seen: set[int]) -> Iterator[str]:
    """The causes first, as Python tells them."""
    seen.add(id(error))
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen:
        yield from _stacks(earlier, seen)
    yield "".join(traceback.format_tb(error.__traceback__)) + _message(error)
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if id(inner) not in seen:
                yield from _stacks(inner, seen)


def _message(error: BaseException) -> str:
    name = type(error).__name__
    if not isinstance(error, HARMLESS):
        return f"{name} (LOG_CONTENT=1 shows what it says)"
    return f"{name}: {_COMMAND.sub('A command of a pipeline', str(error))}"
