"""Lark grammars for text that is written inside a JSON string.

Formats that write a custom tool's input as JSON have to follow the tool's grammar in escaped form: a line break is
written `\\n`, a quote `\\"`. The terminals are rewritten for that, one by one; the rules stay as they are. Control
characters that have no short escape are left out: the grammar becomes narrower, never wider.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from shared.lark import LarkToken, lark_tokens
from shared.unsupported import Unsupported

SHORT_ESCAPES = {
    character: rf"(?-i:\\{letter})"
    for character, letter in (('"', r"\""), ("\\", r"\\"), *(zip("\n\r\t\b\f", "nrtbf", strict=True)))
}
"""Regular expressions for characters that JSON strings cannot hold as they are: groups, so that what repeats one
repeats all of it, and never with other letters, whatever flags there are."""

PLAIN = r'[^"\\\x00-\x1F\x7F]'
INSIDE = rf'/(?:{PLAIN}|\\[\\"nrtbf])*/'  # any text inside a JSON string

COMMON = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[a-fA-F0-9]",
    "INT": "[0-9]+",
    "SIGNED_INT": r"(\+|-)?[0-9]+",
    "DECIMAL": r"([0-9]+\.[0-9]*)|(\.[0-9]+)",
    "FLOAT": r"([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+",
    "NUMBER": r"([0-9]+)|([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+",
    "_EXP": r"[eE](\+|-)?[0-9]+",
    "SIGNED_FLOAT": r"(\+|-)?(([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+)",
    "SIGNED_NUMBER": r"(\+|-)?([0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+)",
    "ESCAPED_STRING": r'"([^"\\]|\\.)*"',
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[A-Za-z]",
    "WORD": "[A-Za-z]+",
    "CNAME": "[_A-Za-z][_A-Za-z0-9]*",
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(\r?\n)+",
    "SH_COMMENT": r"#[^\n]*",
    "SQL_COMMENT": r"--[^\n]*",
    "C_COMMENT": r"/\*[^*]*\*+([^/*][^*]*\*+)*/",
    "CPP_COMMENT": r"//[^\n]*",
}
"""Lark's `common` terminals, as llguidance defines them (parser/src/lark/common.rs)."""


def quoted_lark(definition: str) -> str:
    """The grammar for the same texts, each as the inside of a JSON string. Raises Unsupported.

    The definition has to be one that llguidance takes.
    """
    tokens = [token for token in lark_tokens(definition) if token.kind != "comment"]
    return "".join(_Words(tokens).rewritten())


def quoted_regex(regex: str, flags: str = "") -> str:
    """The regular expression for the same texts as the inside of a JSON string. Raises Unsupported."""
    return "".join(_parts(regex, "s" in flags))


class _Words:
    """The words of a grammar, rewritten one after the other."""

    def __init__(self, tokens: list[LarkToken]) -> None:
        self._tokens = tokens
        self._at = 0

    def rewritten(self) -> Iterator[str]:
        while self._at < len(self._tokens):
            yield from self._next()

    def _next(self) -> Iterator[str]:
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "string":
            yield self._range(text) or _string(text)
        elif kind == "regex":
            body, _, flags = text[1:].rpartition("/")
            yield _between_slashes(quoted_regex(body, flags)) + flags.replace("s", "")
        elif kind == "directive" and text == "%import":
            yield self._imports()
        elif text == "~":
            yield from self._tilde()
        elif kind in ("reference", "special") or (kind == "directive" and text != "%ignore"):
            raise Unsupported(text)
        else:
            yield text

    def _range(self, first: str) -> str | None:
        """`"a".."z"` as a class of characters; None where the string is one by itself."""
        following = [token for token in self._tokens[self._at : self._at + 6] if token.kind != "space"][:3]
        if (
            [token.text for token in following[:2]] != [".", "."]
            or following[2:] == []
            or following[2].kind != "string"
        ):
            return None
        self._at = next(n for n in range(self._at, len(self._tokens)) if self._tokens[n] is following[2]) + 1
        ends = [_read(text) for text in (first, following[2].text)]
        if any(len(end) != 1 for end in ends):
            raise Unsupported(f"the range {first}..{following[2].text}")
        return _between_slashes(quoted_regex("[{}-{}]".format(*(rf"\U{ord(end):08x}" for end in ends))))

    def _tilde(self) -> Iterator[str]:
        """`~2..3` behind something repeats it; before something it is everything else."""
        rest = "".join(token.text for token in self._tokens[self._at : self._at + 8])
        if match := re.match(r"\s*(\d+)(?:\s*\.\.\s*(\d+))?", rest):
            taken = 0
            while taken < match.end():
                taken += len(self._tokens[self._at].text)
                self._at += 1
            yield f"{{{match[1]},{match[2] or match[1]}}}"
            return
        yield f"({INSIDE} & ~"
        yield from self._atom()
        yield ")"

    def _atom(self) -> Iterator[str]:
        """What a prefix belongs to: a word, or all between parentheses."""
        while self._tokens[self._at].kind == "space":
            self._at += 1
        opened = self._tokens[self._at].text in ("(", "[")
        yield from self._next()
        while opened:
            opened = self._tokens[self._at].text not in (")", "]")
            yield from self._atom() if self._tokens[self._at].text in ("(", "[") else self._next()

    def _imports(self) -> str:
        """The definitions for one `%import common.X`, whose words are taken."""
        line: list[str] = []
        while self._at < len(self._tokens) and "\n" not in self._tokens[self._at].text:
            line.append(self._tokens[self._at].text)
            self._at += 1
        words = "".join(line).strip()
        match = re.fullmatch(r"common\s*\.?\s*(?:(\w+)(?:\s*->\s*(\w+))?|\(([\w\s,]+)\))", words)
        if not match:
            raise Unsupported(f"%import {words}")
        names = [(match[1], match[2] or match[1])] if match[1] else [(n.strip(),) * 2 for n in match[3].split(",")]
        lines = []
        for name, alias in names:
            if name not in COMMON:
                raise Unsupported(f"%import common.{name}")
            lines.append(f"{alias}: {_between_slashes(quoted_regex(COMMON[name]))}")
        return "\n".join(lines)


def _read(text: str) -> str:
    """What a string of a grammar says: JSON's, with `\\xNN`."""
    try:
        value: str = json.loads(
            re.sub(r"(\\[^x])|\\x(?=[0-9a-fA-F]{2})", lambda m: m[1] or r"\u00", text.removesuffix("i"))
        )
    except ValueError as error:
        raise Unsupported(f"the string {text}") from error
    return value


def _string(text: str) -> str:
    inside = json.dumps(_read(text), ensure_ascii=False)[1:-1]
    if not text.endswith("i"):
        return json.dumps(inside, ensure_ascii=False)
    parts = re.split(r"(\\u....|\\.)", inside)  # each second one is an escape, whose letters are what they are
    if len(parts) == 1:
        return json.dumps(inside, ensure_ascii=False) + "i"
    escaped = [f"(?-i:{re.escape(part)})" if number % 2 else re.escape(part) for number, part in enumerate(parts)]
    return _between_slashes("".join(escaped)) + "i"


def _between_slashes(regex: str) -> str:
    return f"/{regex.replace('/', chr(92) + '/')}/"


_TOKEN = re.compile(
    r"""(?P<set>\[\^?\]?(?:[^\]\\]|\\.)*\])
      | (?P<anchor>[\^$]|\\[Az])
      | (?P<escape>\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|x\{[0-9a-fA-F]+\}|u\{[0-9a-fA-F]+\}|[pP]\{[^}]*\}|.))
      | (?P<flags>\(\?[a-zA-Z-]+\))
      | (?P<group>\(\?[a-zA-Z]*-?[a-zA-Z]*:|\(\?P?<\w+>|\()
      | (?P<close>\))
      | (?P<any>\.)
      | (?P<count>\{\d*,?\d*\})
      | (?P<or>\|)
      | (?P<operator>[*+?])
      | (?P<char>.)""",
    re.VERBOSE | re.DOTALL,
)


def _parts(regex: str, dotall: bool) -> Iterator[str]:
    scopes = [dotall]
    matches = list(_TOKEN.finditer(regex))
    kinds = [None, *(match.lastgroup for match in matches), None]
    for number, match in enumerate(matches):
        kind, text, neighbours = match.lastgroup, match.group(), (kinds[number], kinds[number + 2])
        if kind == "set":
            yield _set(text)
        elif kind == "escape":
            yield _escape(text)
        elif kind == "group":
            flags = text[2:-1] if text.startswith("(?") and text.endswith(":") else ""
            on, _, off = flags.partition("-")
            scopes.append(False if "s" in off else "s" in on or scopes[-1])
            kept = flags.replace("s", "").rstrip("-")
            yield f"(?{kept}:" if text.startswith("(?") else "("
        elif kind == "flags":
            on, _, off = text[2:-1].partition("-")
            scopes[-1] = False if "s" in off else "s" in on or scopes[-1]
            kept = text[2:-1].replace("s", "").rstrip("-")
            yield f"(?{kept})" if kept else ""
        elif kind == "close":
            if len(scopes) == 1:
                raise Unsupported("an unbalanced parenthesis")
            scopes.pop()
            yield ")"
        elif kind == "any":
            breaks = "" if not scopes[-1] else r"\\n|"
            yield rf"(?-i:{PLAIN}|{breaks}\\[\\\"rtbf])"
        elif kind == "anchor":
            _require_end(text, *neighbours)
        else:
            yield SHORT_ESCAPES.get(text, text)


def _require_end(anchor: str, before: str | None, after: str | None) -> None:
    """A terminal is all of a text anyway. Raises Unsupported for an anchor inside."""
    begins = anchor in ("^", r"\A")
    near = before if begins else after
    if near not in (None, "or", "anchor", *(("group", "flags") if begins else ("close",))):
        raise Unsupported(f"the anchor {anchor}")


def _escape(text: str) -> str:
    letter = text[1]
    if letter in "dDwWsSpP":
        return _set(f"[{text}]")
    if letter in "bBAzZ":
        raise Unsupported(f"the anchor {text}")
    if letter in "xu":
        code = int(text[2:].strip("{}"), 16)
        character = chr(code)
        return SHORT_ESCAPES.get(character) or re.escape(character)
    character = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}.get(letter, letter)
    return SHORT_ESCAPES.get(character, text)


def _set(text: str) -> str:
    """A class of characters: those that stand for themselves, and the escapes of the others."""
    try:
        members = re.compile(re.sub(r"\\[pP]\{[^}]*\}", r"\\w", text))
    except re.error as error:
        raise Unsupported(f"the class {text}") from error
    escapes = [escape for character, escape in SHORT_ESCAPES.items() if members.match(character)]
    plain = f"[{text}&&{PLAIN}]"
    if not any(members.match(chr(code)) for code in (*range(0x20, 0x7F), 0xE9, 0x4E00)):
        return f"(?:{'|'.join(escapes)})" if escapes else plain
    return f"(?:{'|'.join((plain, *escapes))})"
