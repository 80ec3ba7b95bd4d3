"""API keys as the setting API_KEYS names them: `NAME:SHA256[:LIMIT=NUMBER...]`, never the keys themselves.

A key is 256 random bits, so a plain SHA-256 of it is enough: there is nothing to guess that a slow hash would protect,
as there is with passwords, and every request pays for the hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.settings import SettingsError

PREFIX = "lr-"
PUBLIC = "public"
"""Who owns everything where there are no keys. A key of this name goes on with what was made without."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LIMIT = re.compile(r"(slots|rpm)=([1-9][0-9]{0,8})")
_FORM = "NAME:SHA256, then :slots=N or :rpm=N; `llamarelay key NAME` makes one"


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of API_KEYS. Keys of the same name are the same tenant: the old and the new one of a rotation."""

    name: str
    digest: bytes
    slots: int | None = None  # responses that may run at once
    rpm: int | None = None  # requests in a minute


class Keys:
    """All keys of a deployment; false where there are none."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def read(cls, entries: Iterable[str]) -> Keys:
        """The entries of API_KEYS. Raises SettingsError, which never shows what may be a key."""
        keys = [_read(entry, position) for position, entry in enumerate(entries, start=1)]
        limits: dict[str, tuple[int | None, int | None]] = {}
        for key in keys:
            if limits.setdefault(key.name, (key.slots, key.rpm)) != (key.slots, key.rpm):
                raise SettingsError(f"API_KEYS: the keys of {key.name} are one tenant, but their limits differ")
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def slots_of(self, name: str) -> int:
        """How many responses of a name may run at once; 0: no limit of its own."""
        return next((key.slots or 0 for key in self._keys if key.name == name), 0)

    def find(self, token: str) -> Key | None:
        """The entry of a key. Takes as long for every token: all entries are compared, each in constant time."""
        digest = hash_of(token)
        found: Key | None = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def _read(entry: str, position: int) -> Key:
    name, _, rest = entry.partition(":")
    digest, *limits = rest.split(":")
    if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest.lower()):
        raise SettingsError(f"API_KEYS: entry {position} is not of the form {_FORM}")
    numbers: dict[str, int] = {}
    for limit in limits:
        match = _LIMIT.fullmatch(limit)
        if match is None or match[1] in numbers:
            raise SettingsError(f"API_KEYS: entry {position} ({name}) has a wrong limit; the form is {_FORM}")
        numbers[match[1]] = int(match[2])
    return Key(name, bytes.fromhex(digest), numbers.get("slots"), numbers.get("rpm"))


def new_key() -> str:
    """A key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def entry_of(name: str, token: str, *, slots: int | None = None, rpm: int | None = None) -> str:
    """The entry of API_KEYS for a key. Raises ValueError for a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise ValueError("a name has up to 64 letters, digits, dots, hyphens and underscores, a letter or digit first")
    limits = "".join(f":{limit}={number}" for limit, number in (("slots", slots), ("rpm", rpm)) if number)
    return f"{name}:{hash_of(token).hex()}{limits}"


def hash_of(token: str) -> bytes:
    """Of any text that a header may hold, also one that is no Unicode."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
