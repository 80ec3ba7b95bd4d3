"""Keys for tests: two tenants, and the second key of one of them."""

from __future__ import annotations

from shared.api_keys import entry_of, new_key

ALICE, ALICE_NEW, BOB = new_key(), new_key(), new_key()
ENTRIES = (entry_of("alice", ALICE), entry_of("alice", ALICE_NEW), entry_of("bob", BOB))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
