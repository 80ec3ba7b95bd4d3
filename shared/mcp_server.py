"""Remote MCP servers as requests name them, and how they travel to the worker: sealed, for the time of the job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

import msgspec
from msgspec import Struct, field

from shared.sealing import MCP_SERVERS, Sealer

HIDDEN = "<redacted>"

_SECRET_NAME = re.compile(
    r"auth|key|token|secret|passw|pwd|(?<![a-z])pin(?![a-z])|cookie|credential|session|signature", re.IGNORECASE
)
_SHORTEST = 6  # what is shorter is also found where it means nothing
_MOST = 256  # replacing takes its time for each: a hostile request names many, and its server returns long texts
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


class Server(Struct, kw_only=True, frozen=True):
    """One `mcp` tool of a request. All but the label may be secret, so a repr shows nothing else."""

    label: str
    url: str
    authorization: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Server(label={self.label!r})"

    def hide(self, text: str) -> str:
        """A text that came from the server, without the secrets that it was sent: servers like to quote them."""
        return _replaced(text, self._secrets())

    def hide_within(self, value: Any) -> Any:
        """The same for every text in a JSON value, names of fields aside."""
        return _hidden(value, self._secrets())

    def _secrets(self) -> list[str]:
        """Longest first: `authorization`, what may be secret in the values of headers and of the query, and long parts
        of the path that have a digit; each as it is and as URLs spell it."""
        parts = urlsplit(self.url)
        found = {word for word in parts.path.split("/") if _looks_secret(word)}
        for name, value in (*self.headers.items(), ("authorization", self.authorization or "")):
            found |= _secrets_in(name, value)
        for pair in parts.query.split("&"):
            name, _, value = pair.partition("=")
            if secrets := _secrets_in(name, unquote_plus(value)):
                found |= {value, *secrets}
        spelled = {self.url, parts.query} | {way for secret in found for way in _spellings(secret)}
        return sorted((way for way in spelled if len(way) >= _SHORTEST), key=len, reverse=True)[:_MOST]


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


def _spellings(secret: str) -> set[str]:
    """A secret as it may stand in a URL or a text."""
    plain = unquote(secret)
    return {secret, plain, quote(plain), quote(plain, safe=""), quote_plus(plain)}


def _replaced(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _hidden(value: Any, secrets: Sequence[str]) -> Any:
    match value:
        case str():
            return _replaced(value, secrets)
        case list():
            return [_hidden(one, secrets) for one in value]
        case dict():
            return {name: _hidden(one, secrets) for name, one in value.items()}
    return value


def _looks_secret(word: str) -> bool:
    """Whether a part of a path is rather a key than a word."""
    return len(word) >= 16 and any(character.isdigit() for character in word)


_servers = msgspec.json.Decoder(list[Server])


def seal(servers: Sequence[Server], sealer: Sealer, owner: str) -> str:
    """The servers as text that only a worker of this deployment can read."""
    return sealer.seal(msgspec.json.encode(servers).decode(), owner=owner, purpose=MCP_SERVERS)


def unseal(sealed: str, sealer: Sealer, owner: str) -> list[Server]:
    """The servers that were sealed. Raises SealBroken."""
    return _servers.decode(sealer.open(sealed, owner=owner, purpose=MCP_SERVERS))
