"""`data:` URLs, and base64 as clients write it. https://www.rfc-editor.org/rfc/rfc2397

What type a URL claims to be of is not read: the content decides.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

_DATA_URL = re.compile(r"data:[^,;]{0,256}(?P<parameters>(?:;[^,;]{0,256}){0,8}),", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n]+")
_STANDARD = str.maketrans("-_", "+/")


def read_data_url(text: str) -> bytes:
    """What a data URL holds. Raises ValueError."""
    found = _DATA_URL.match(text)
    if found is None:
        raise ValueError("it is not a data URL (data:TYPE;base64,...)")
    if found["parameters"].lower().replace(" ", "").endswith(";base64"):
        return read_base64(text[found.end() :])
    return unquote_to_bytes(text[found.end() :].encode(errors="replace"))


def read_base64(text: str) -> bytes:
    """What base64 encodes; the padding may be missing, the URL-safe alphabet will do. Raises ValueError."""
    compact = _SPACE.sub("", text).translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except ValueError:  # binascii.Error is one, and so is a letter outside of ASCII
        raise ValueError("it is not valid base64") from None


def write_data_url(data: bytes) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
