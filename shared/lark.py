"""The words of a Lark grammar, as llguidance reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class LarkToken(NamedTuple):
    kind: str  # string, regex, comment, directive, reference, special, space, other
    text: str


_LARK = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"i?)
      | (?P<comment>(?://|\#)[^\n]*)
      | (?P<regex>/(?:[^/\\\n]|\\.)+/[imslux]*)
      | (?P<directive>%[a-z]+)
      | (?P<reference>@[\w-]+)
      | (?P<special><[^<>\s]+>)
      | (?P<space>\s+)
      | (?P<other>\w+|.)""",
    re.VERBOSE,
)


def lark_tokens(definition: str) -> Iterator[LarkToken]:
    """The words of a Lark grammar; joined they are the definition again."""
    for match in _LARK.finditer(definition):
        assert match.lastgroup
        yield LarkToken(match.lastgroup, match.group())
