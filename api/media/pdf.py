"""The text of a PDF, read in another process so that no file can hold up or bring down this one."""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

PROGRAM = Path(__file__).with_name("pdf_text.py")


class BadPdf(ValueError):
    """The message says why it cannot be read."""


class PdfText(Struct):
    pages: int = 0
    text: str = ""
    error: str | None = None


async def read_pdf(data: bytes, *, max_pages: int, max_characters: int, seconds: float) -> PdfText:
    """The text of all pages, each under its number. Raises BadPdf."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",  # nothing from the environment or the folder
        str(PROGRAM),
        str(max_pages),
        str(max_characters),
        str(math.ceil(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate(data)
    except TimeoutError:
        raise BadPdf(f"reading it takes longer than {seconds:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        answer = msgspec.json.decode(output, type=PdfText)
    except msgspec.DecodeError:
        raise BadPdf("it cannot be read") from None
    if answer.error:
        raise BadPdf(answer.error)
    return answer
