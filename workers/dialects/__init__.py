"""Dialects: one small file per family of chat templates, chosen from the template's source."""

from __future__ import annotations

from workers.dialects.base import Dialect
from workers.dialects.thinking import ThinkingDialect


def detect(template: str) -> Dialect:
    """The dialect of a chat template."""
    return ThinkingDialect()
