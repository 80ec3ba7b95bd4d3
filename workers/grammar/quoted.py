"""Lark grammars for text that is written inside a JSON string.

Formats that write a custom tool's input as JSON have to follow the tool's grammar in escaped form: a line break is
written `\\n`, a quote `\\"`. The terminals are rewritten for that, one by one; the rules stay as they are. Control
characters that have no short escape are left out: the grammar becomes narrower, never wider.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from shared.grammar import LarkToken, Unsupported, lark_tokens

SHORT_ESCAPES = {'"': r"\\\"", "\\": r"\\\\", "\n": r"\\n", "\r": r"\\r", "\t": r"\\t", "\b": r"\\b", "\f": r"\\f"}
"""Regular expressions for characters that JSON strings cannot hold as they are."""

PLAIN = r'[^"\\\x00-\x1F\x7F]'

COMMON = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[a-fA-F0-9]",
    "INT": "[0-9]+",
    "SIGNED_INT": r"(\+|-)?[0-9]+",
    "DECIMAL": r"([0-9]+\.[0-9]*)|(\.[0-9]+)",
    "FLOAT": r"([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+",
    "NUMBER": r"([0-9]+)|([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+",
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
    "CPP_COMMENT": r"//[^\n]*",
}
"""Lark's `common` terminals, as llguidance defines them (parser/src/lark/common.rs)."""


def quoted_lark(definition: str) -> str:
    """The grammar for the same texts, each as the inside of a JSON string. Raises Unsupported."""
    tokens = [token for token in lark_tokens(definition) if token.kind != "comment"]
    return "".join(_rewritten(tokens))


def quoted_regex(regex: str, flags: str = "") -> str:
    """The regular expression for the same texts as the inside of a JSON string. Raises Unsupported."""
    return "".join(_parts(regex, "s" in flags))


def _rewritten(tokens: list[LarkToken]) -> Iterator[str]:
    index = 0
    while index < len(tokens):
        kind, text = tokens[index]
        index += 1
        if kind == "string":
            value, flag = (text[:-1], "i") if text.endswith("i") else (text, "")
            try:
                plain = json.loads(value)
            except ValueError as error:
                raise Unsupported(f"the string {text}") from error
            yield json.dumps(json.dumps(plain, ensure_ascii=False)[1:-1], ensure_ascii=False) + flag
        elif kind == "regex":
            body, _, flags = text[1:].rpartition("/")
            yield f"/{quoted_regex(body, flags).replace('/', chr(92) + '/')}/" + flags.replace("s", "")
        elif kind == "directive" and text == "%import":
            index, definitions = _imports(tokens, index)
            yield definitions
        elif text in ("~", "&"):
            raise Unsupported(f"the operator {text}")
        elif kind in ("reference", "special") or (kind == "directive" and text != "%ignore"):
            raise Unsupported(text)
        else:
            yield text


def _imports(tokens: list[LarkToken], index: int) -> tuple[int, str]:
    """The definitions for one `%import common.X`, and where the grammar goes on."""
    line: list[str] = []
    while index < len(tokens) and "\n" not in tokens[index].text:
        line.append(tokens[index].text)
        index += 1
    words = "".join(line).strip()
    match = re.fullmatch(r"common\s*\.?\s*(?:(\w+)(?:\s*->\s*(\w+))?|\(([\w\s,]+)\))", words)
    if not match:
        raise Unsupported(f"%import {words}")
    names = [(match[1], match[2] or match[1])] if match[1] else [(n.strip(),) * 2 for n in match[3].split(",")]
    lines = []
    for name, alias in names:
        if name not in COMMON:
            raise Unsupported(f"%import common.{name}")
        lines.append(f"{alias}: /{quoted_regex(COMMON[name]).replace('/', chr(92) + '/')}/")
    return index, "\n".join(lines)


_TOKEN = re.compile(
    r"""(?P<set>\[\^?\]?(?:[^\]\\]|\\.)*\])
      | (?P<escape>\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|x\{[0-9a-fA-F]+\}|u\{[0-9a-fA-F]+\}|[pP]\{[^}]*\}|.))
      | (?P<group>\(\?[a-zA-Z]*-?[a-zA-Z]*:|\(\?P?<\w+>|\()
      | (?P<close>\))
      | (?P<any>\.)
      | (?P<count>\{\d*,?\d*\})
      | (?P<operator>[*+?|])
      | (?P<anchor>[\^$])
      | (?P<char>.)""",
    re.VERBOSE | re.DOTALL,
)


def _parts(regex: str, dotall: bool) -> Iterator[str]:
    scopes = [dotall]
    for match in _TOKEN.finditer(regex):
        kind, text = match.lastgroup, match.group()
        if kind == "set":
            yield _set(text)
        elif kind == "escape":
            yield _escape(text)
        elif kind == "group":
            flags = text[2:-1] if text.startswith("(?") and text.endswith(":") else ""
            on, _, off = flags.partition("-")
            scopes.append(False if "s" in off else "s" in on or scopes[-1])
            kept = on.replace("s", "")
            yield f"(?{kept}:" if text.startswith("(?") else "("
        elif kind == "close":
            if len(scopes) == 1:
                raise Unsupported("an unbalanced parenthesis")
            scopes.pop()
            yield ")"
        elif kind == "any":
            breaks = "" if not scopes[-1] else r"\\n|"
            yield rf"(?:{PLAIN}|{breaks}\\[\\\"rtbf])"
        elif kind == "anchor":
            raise Unsupported(f"the anchor {text}")
        else:
            yield SHORT_ESCAPES.get(text, text)


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
