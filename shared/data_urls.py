"""`data:` URLs, and base64 as clients write it. https://www.rfc-editor.org/rfc/rfc2397"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

_DATA_URL = re.compile(r"data:(?P<type>[^,;]{0,256})(?P<parameters>(?:;[^,;]{0,256}){0,8}),", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n]+")


class DataUrl(NamedTuple):
    media_type: str  # in lower case, as its sender says; "" where it does not
    data: bytes


def read_data_url(text: str) -> DataUrl:
    """What a data URL holds. Raises ValueError."""
    found = _DATA_URL.match(text)
    if found is None:
        raise ValueError("it is not a data URL (data:TYPE;base64,...)")
    media_type = found["type"].strip().lower()
    if found["parameters"].lower().replace(" ", "").endswith(";base64"):
        return DataUrl(media_type, read_base64(text[found.end() :]))
    return DataUrl(media_type, unquote_to_bytes(text[found.end() :]))


def read_base64(text: str) -> bytes:
    """What base64 encodes; the padding may be missing, the URL-safe alphabet will do. Raises ValueError."""
    compact = _SPACE.sub("", text).translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error:
        raise ValueError("it is not valid base64") from None


def write_data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


_STANDARD = str.maketrans("-_", "+/")
