"""What of an MCP server's address and headers may be secret, in all the ways in which the server may quote it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

HIDDEN = "<redacted>"

MOST = 256  # texts that are looked for: a hostile request names many, and its server returns long texts
LOOKED_INTO = 16 * 1024  # characters of values whose words are looked at, the shortest values first; see `_whole`
SPELLED = 32 * 1024  # characters that are also looked for as URLs spell them, the shortest first

_SECRET_NAME = re.compile(
    r"auth|key|token|secret|passw|pwd|(?<![a-z])pin(?![a-z])|cookie|credential|session|signature", re.IGNORECASE
)
_SHORTEST = 6  # what is shorter is also found where it means nothing
_BETWEEN = re.compile(r"[\s,;]+")
# What tells nothing of who asks: ordinary words, also several as in `pull_requests`, `us-east-1` or an address; content
# types, languages, dates and times, versions and small numbers.
_WORD = r"([A-Z]?[a-z]{1,14}|[A-Z]{1,15})"
_HARMLESS = re.compile(
    rf"{_WORD}((://|[_.@:/-])({_WORD}|\d{{1,2}}(?!\d)))*/?"
    r"|(application|audio|font|image|message|model|multipart|text|video|\*)/([a-z0-9.+-]{1,60}|\*)"
    r"|[a-z]{2}-[A-Z]{2}|utf-8|UTF-8|\*"
    r"|\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?"
    r"|v?\d{1,4}(\.\d{1,4}){0,3}"
)
# Stands for what was replaced until all is: no text has it, so nothing that was replaced is found again.
_MARK = "\ud800"


class _Value(NamedTuple):
    """Of a header, or of a part of the query as it is written there."""

    name: str
    value: str
    written: str | None = None


def secrets_of(url: str, authorization: str | None, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Longest first: `authorization`, what may be secret in the values of headers and of the query, and long parts
    of the path that have a digit; each as it is, as URLs and as JSON spell it."""
    parts = urlsplit(url)
    found = {word for word in parts.path.split("/") if _looks_secret(word)}
    values = [_Value(name, value) for name, value in headers.items()]
    values.append(_Value("authorization", authorization or ""))
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        values.append(_Value(name, unquote_plus(value), value))
    left = LOOKED_INTO
    for one in sorted(values, key=lambda one: len(one.value)):
        left -= len(one.value)
        if secrets := _secrets_in(one.name, one.value) if left >= 0 else _whole(one.value):
            found |= secrets if one.written is None else {one.written, *secrets}
    return _longest({url, parts.query, *_in_json(url), *_spelled(_longest(found))})


def replaced(text: str, secrets: Sequence[str]) -> str:
    """The text without the secrets, which come longest first."""
    for secret in secrets:
        text = text.replace(secret, _MARK)
    return text.replace(_MARK, HIDDEN)


def _secrets_in(name: str, value: str) -> set[str]:
    """What of the value of a header or of a query may be secret: the whole of it, and the words within; nothing where
    all words are harmless, unless the name says that they are not."""
    whole, named = value.strip(), _SECRET_NAME.search(name) is not None
    found = {whole.rpartition(" ")[2]} if named else set()
    for word in _BETWEEN.split(whole):
        said = word.partition("=")[2]
        if not said.strip("="):  # no name=value, though base64 may end like that
            said = word
        if not _HARMLESS.fullmatch(said) or (named and said is not word):
            found |= {word, said}
    return found | {whole} if found else found


def _whole(value: str) -> set[str]:
    """What is taken for secret of a value that is not looked into: all of it, and what stands behind a scheme."""
    whole = value.strip()
    return {whole, whole.rpartition(" ")[2]}


def _spelled(secrets: Sequence[str]) -> set[str]:
    """Secrets as they may stand in a URL, in JSON or in a text."""
    spelled, left = set(secrets), SPELLED
    for secret in sorted(secrets, key=len):
        spelled |= _in_json(secret)
        left -= len(secret)
        if left >= 0:
            plain = unquote(secret)
            spelled |= {plain, quote(plain), quote(plain, safe=""), quote_plus(plain), *_in_json(plain)}
    return spelled


def _in_json(text: str) -> set[str]:
    """A text as JSON may write it: plainly, in ASCII, and as PHP and Go do."""
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    go = plain.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return {plain, json.dumps(text)[1:-1], plain.replace("/", "\\/"), go}


def _longest(texts: set[str]) -> tuple[str, ...]:
    """Those that are looked for."""
    return tuple(sorted((text for text in texts if len(text) >= _SHORTEST), key=len, reverse=True)[:MOST])


def _looks_secret(word: str) -> bool:
    """Whether a part of a path is rather a key than a word."""
    return len(word) >= 16 and any(character.isdigit() for character in word)
