"""Text files: what makes a file one, and its characters."""

from __future__ import annotations

import codecs
import re

BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # no text has these; tabs, newlines and escapes it may


class NotText(ValueError):
    """The file is something else."""


def decode_text(data: bytes) -> str:
    """The characters of a text file: UTF-8, UTF-16 with a byte order mark, else Latin-1. Raises NotText."""
    for mark, encoding in BOMS:
        if data.startswith(mark):
            try:
                return _lines(data.decode(encoding))
            except UnicodeDecodeError:
                raise NotText("it begins like a Unicode text but is none") from None
    if _CONTROL.search(data):
        raise NotText("it is neither text nor a PDF")
    try:
        return _lines(data.decode())
    except UnicodeDecodeError:
        return _lines(data.decode("latin-1"))


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
