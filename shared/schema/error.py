"""The body of every answer that is not a success: OpenAI's error envelope."""

from __future__ import annotations

from msgspec import Struct


class ErrorDetail(Struct, kw_only=True):
    message: str  # what was wrong, and what would be right
    type: str
    param: str | None = None  # where: a path such as `input[0].content[1].type`
    code: str | None = None


class ErrorBody(Struct, kw_only=True):
    error: ErrorDetail
