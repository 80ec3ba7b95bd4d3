"""What a tool returned, as text for the model."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import mcp_types as types
import msgspec

from workers.mcp.intake import ELEMENTS, Elements


def texts(result: types.CallToolResult) -> list[str]:
    """One text for each part, and one for structured content that no part says already."""
    found = [_text(part) for part in result.content]
    written = [part.text for part in result.content if isinstance(part, types.TextContent)]
    structured = result.structured_content
    if structured is not None and not _says(written, structured):
        found.append(msgspec.json.encode(structured).decode())
    return [text for text in found if text]


def _text(part: types.ContentBlock) -> str:
    match part:
        case types.TextContent():
            return part.text
        case types.ImageContent():
            return f"[image: {part.mime_type}, {_size(part.data)} bytes]"
        case types.AudioContent():
            return f"[audio: {part.mime_type}, {_size(part.data)} bytes]"
        case types.ResourceLink():
            about = f": {part.description}" if part.description else ""
            return f"[resource: {part.title or part.name}, {part.uri}{about}]"
        case types.EmbeddedResource():
            resource = part.resource
            if isinstance(resource, types.TextResourceContents):
                return resource.text
            return f"[resource: {resource.uri}, {resource.mime_type or 'binary'}, {_size(resource.blob)} bytes]"


def _says(written: list[str], structured: Any) -> bool:
    """Whether texts say the structured content: servers repeat it as JSON for clients that know only text, and wrap
    what is no object as `{"result": ...}`."""
    wrapped = isinstance(structured, dict) and set(structured) == {"result"}
    meant = [structured, *([structured["result"]] if wrapped else [])]
    elements = Elements(ELEMENTS)  # as many as structured content may have
    values = [_value(text) if elements.take(text.encode(errors="replace")) else text for text in written]
    return any(value in meant or text in meant for value, text in zip(values, written, strict=True)) or (
        wrapped and (values == meant[1] or written == meant[1])
    )


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text


def _size(data: str) -> int:
    try:
        return len(base64.b64decode(data))
    except (binascii.Error, ValueError):
        return 0
