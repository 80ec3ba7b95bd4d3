"""Content that leaves the server sealed and comes back unchanged or not at all: AES-256-GCM with a key from settings.

Sealed content is bound to its owner and its purpose, so one tenant's cannot be used by another, nor a summary as
reasoning.
"""

from __future__ import annotations

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = b"\x01"
NONCE_BYTES = 12
REASONING, COMPACTION, MCP_SERVERS = "reasoning", "compaction", "mcp servers"  # purposes


class SealBroken(ValueError):
    """The content was not sealed by this deployment for this owner and purpose, or it was changed since."""


class Sealer:
    """Seals and opens text. `secret` may be of any length; every process of a deployment has the same one."""

    def __init__(self, secret: str) -> None:
        key = HKDF(SHA256(), length=32, salt=None, info=b"llamarelay sealed content").derive(secret.encode())
        self._cipher = AESGCM(key)

    def seal(self, text: str, *, owner: str, purpose: str) -> str:
        """URL-safe text that says nothing but its length."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), _bound_to(owner, purpose))
        return base64.urlsafe_b64encode(VERSION + nonce + sealed).decode()

    def open(self, sealed: str, *, owner: str, purpose: str) -> str:
        """The text that was sealed. Raises SealBroken."""
        try:
            data = base64.b64decode(sealed.encode(), altchars=b"-_", validate=True)
            if data[:1] != VERSION:
                raise SealBroken("not sealed here")
            nonce, encrypted = data[1 : 1 + NONCE_BYTES], data[1 + NONCE_BYTES :]
            return self._cipher.decrypt(nonce, encrypted, _bound_to(owner, purpose)).decode()
        except (binascii.Error, ValueError, InvalidTag) as error:
            raise SealBroken("not sealed here, or changed since") from error


def _bound_to(owner: str, purpose: str) -> bytes:
    return f"{purpose}\x00{owner}".encode()


def sealer_of(encryption_key: str) -> Sealer | None:
    """The sealer of the setting ENCRYPTION_KEY; None where it is empty."""
    return Sealer(encryption_key) if encryption_key else None
