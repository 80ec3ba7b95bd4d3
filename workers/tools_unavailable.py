"""The one failure of remote tools that ends a response."""

from __future__ import annotations


class ToolsUnavailable(Exception):
    """The request demands a call of tools that there are not; the message says why."""
