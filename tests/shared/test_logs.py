"""Logs carry ids: what an exception says, and what was in its variables, stays out of them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

import pytest

from shared.logs import LibraryFormatter, describe

PROGRAM = """
import asyncio, logging, sys
import structlog
from redis.exceptions import ResponseError
from shared.logs import configure_logs
from shared.settings import Settings

configure_logs(Settings(log_level="debug", log_format=sys.argv[1], log_content=sys.argv[2] == "1"), "web")
log = structlog.get_logger()

def fails(kind, text="mark" + "er"):
    local = [text] * 3
    raise kind("it says " + text)

try:
    try:
        fails(KeyError)
    except KeyError as error:
        fails(ValueError)
except ValueError as error:
    log.exception("our_failure", response_id="resp_1")
    log.error("given", exc_info=error)
    logging.getLogger("arq.worker").exception("%s failed, %s: %s", "resp_1", "ValueError", error)
try:
    raise ResponseError("Command # 1 (SET key mark" + "er\\n and more) of pipeline caused error: OOM no memory")
except ResponseError as error:
    log.exception("redis_failed", error=str(error))
    log.warning("told", error=str(error))
try:
    raise ExceptionGroup("several", [ValueError("mark" + "er")])
except ExceptionGroup:
    log.exception("group")

async def main():
    task = asyncio.get_running_loop().create_task(asyncio.to_thread(fails, ValueError))
    await asyncio.wait([task])

asyncio.run(main())
"""


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("content", [False, True])
def test_exceptions_are_told_without_what_they_say(form: str, content: bool) -> None:
    command = [sys.executable, "-c", PROGRAM, form, str(int(content))]
    written = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    assert ("marker" in written) is content, written
    told = ("our_failure", "resp_1", "ValueError", "KeyError", "in fails", "OOM no memory", "never retrieved")
    for there in (*told, "several" if content else "ExceptionGroup"):
        assert there in written, written


def test_a_cause_that_is_its_own_is_told_once() -> None:
    error = ValueError("x")
    error.__cause__ = error
    assert describe(error, content=False).count("ValueError") == 1


def test_a_record_with_named_arguments_is_formatted() -> None:
    record = logging.makeLogRecord({"name": "n", "msg": "%(a)s!", "args": {"a": 1}})
    assert LibraryFormatter(content=False).format(record) == "n: 1!"


def test_an_oserror_says_what_it_is() -> None:
    assert "Connection refused" in describe(ConnectionRefusedError(111, "Connection refused"), content=False)
    assert asyncio.TimeoutError is TimeoutError
