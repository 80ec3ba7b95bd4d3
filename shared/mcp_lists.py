"""What a list of a server's tools was made to hold.

A list shows only what the request allowed that it was made for, and is kept for later requests, which may allow more.
So its id ends with a digest of that filter: it travels wherever the item does, also through clients that store nothing,
and the item has no field that OpenAI's lacks.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from shared.schema.items import McpListTools
from shared.schema.tools import McpTool, McpToolFilter

DIGITS = 6  # with them an id has 63 characters; OpenAI's has 64 at most

_ours = re.compile(rf"mcpl_[0-9a-f]{{52}}([0-9a-f]{{{DIGITS}}})")


def made_for(tool: McpTool) -> str:
    """What the id of a list ends with that holds what the request allows."""
    return _digest(*_filter(tool))


def holds(listed: McpListTools, tool: McpTool) -> bool:
    """Whether a list was made to hold all that the request allows, whether or not the server had it.

    Exact but for names that the server did not have: which of them an earlier request named is known only where this
    one names the same. A list of another's making is taken for whole where it has something that is allowed.
    """
    names, read_only = _filter(tool)
    if names and set(names) <= {one.name for one in listed.tools}:
        return True
    if (ours := _ours.fullmatch(listed.id)) is None:
        return not names and any(tool.allows(one) for one in listed.tools)
    wider = {(some, only) for some in (names, ()) for only in (read_only, None)}
    return ours[1] in {_digest(*one) for one in wider}


def _filter(tool: McpTool) -> tuple[tuple[str, ...], bool | None]:
    """The names that are allowed, none for all, and whether they have to be read-only."""
    allowed = tool.allowed_tools
    if isinstance(allowed, McpToolFilter):
        return tuple(sorted(set(allowed.tool_names or ()))), allowed.read_only
    return tuple(sorted(set(allowed or ()))), None


def _digest(names: tuple[str, ...], read_only: bool | None) -> str:
    return hashlib.sha256(msgspec.json.encode((names, read_only))).hexdigest()[:DIGITS]
