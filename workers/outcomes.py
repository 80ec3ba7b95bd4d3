"""What the model is told of a remote call that has ended, or was not made."""

from __future__ import annotations

import json

from shared.schema.items import McpCall
from shared.schema.mcp import McpToolExecutionError


def outcome(call: McpCall) -> str:
    """The output of a call, or in plain words how it failed."""
    match call.error:
        case None:
            return call.output or ""
        case McpToolExecutionError(content=content):
            return f"The tool failed: {_text(content)}"
        case error:
            return f"The call failed: {error.message}"


def refusal(reason: str | None) -> str:
    """For a call that was not approved."""
    told = f" The reason: {reason}" if reason else ""
    return f"The user did not approve this call, so it was not made.{told}"


def _text(content: object) -> str:
    """The content of a tool's result, which is a list of parts."""
    parts = content if isinstance(content, list) else [content]
    texts = [part["text"] if isinstance(part, dict) and isinstance(part.get("text"), str) else part for part in parts]
    return "\n".join(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for text in texts)
