"""The failures of remote tools that end a response."""

from __future__ import annotations


class ToolsUnavailable(Exception):
    """The request demands a call of tools that cannot be had; the message says why."""


class NoSuchTool(Exception):
    """The request demands a call of a tool that its servers do not have; the message says which ones they have."""
