"""API_KEYS: what an entry may look like, and that a key is found by its hash alone."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from shared import api_keys
from shared.api_keys import PREFIX, Keys, entry_of, hash_of, new_key
from shared.settings import Settings, SettingsError

DIGEST = hashlib.sha256(b"secret").hexdigest()


def test_a_key_holds_256_random_bits() -> None:
    made = {new_key() for _ in range(200)}
    assert len(made) == 200
    for key in made:
        assert key.startswith(PREFIX)
        assert len(base64.urlsafe_b64decode(key.removeprefix(PREFIX) + "=")) == 32


def test_an_entry_is_found_by_its_key() -> None:
    old, new, other = new_key(), new_key(), new_key()
    keys = Keys.read([entry_of("a", old, rpm=60), entry_of("a", new, rpm=60), entry_of("b.c", other, slots=4, rpm=2)])
    found = [keys.find(key) for key in (old, new, other, new_key(), "", "\udcff")]
    assert [(key.name, key.slots, key.rpm) if key else None for key in found] == [
        ("a", None, 60), ("a", None, 60), ("b.c", 4, 2), None, None, None,
    ]  # fmt: skip


def test_every_entry_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    really = hmac.compare_digest

    def compare(stored: bytes, given: bytes) -> bool:
        compared.append(stored)
        return really(stored, given)

    tokens = [new_key() for _ in range(5)]
    keys = Keys.read([entry_of(f"name{number}", token) for number, token in enumerate(tokens)])
    monkeypatch.setattr(api_keys.hmac, "compare_digest", compare)
    for token in (tokens[0], "wrong"):
        compared.clear()
        keys.find(token)
        assert compared == [hash_of(token) for token in tokens]


def test_the_environment_may_hold_several_with_spaces() -> None:
    settings = Settings.from_environment({"API_KEYS": f" a:{DIGEST} , b:{DIGEST.upper()}:slots=3:rpm=60 ,"})
    keys = Keys.read(settings.api_keys)
    assert keys
    found = keys.find("secret")
    assert found is not None
    assert (found.name, found.slots, found.rpm) == ("b", 3, 60)
    assert not Keys.read(Settings.from_environment({"API_KEYS": ""}).api_keys)


@pytest.mark.parametrize(
    "entry",
    [
        "secret",
        "a:secret",
        "a",
        f":{DIGEST}",
        f"a b:{DIGEST}",
        f"a/b:{DIGEST}",
        f"-a:{DIGEST}",
        f"{'a' * 65}:{DIGEST}",
        f"a:{DIGEST[:-1]}",
        f"a:{DIGEST}:",
        f"a:{DIGEST}:rpm=0",
        f"a:{DIGEST}:rpm=many",
        f"a:{DIGEST}:rpm=1:rpm=2",
        f"a:{DIGEST}:rps=1",
        f"a:{DIGEST}:rpm=-1",
    ],
)
def test_a_wrong_entry_is_refused_without_showing_it(entry: str) -> None:
    with pytest.raises(SettingsError, match="API_KEYS: entry 2") as refused:
        Keys.read([f"fine:{DIGEST}", entry])
    assert "secret" not in str(refused.value)
    assert DIGEST[:20] not in str(refused.value)


def test_keys_of_one_name_have_the_same_limits() -> None:
    with pytest.raises(SettingsError, match="a are one tenant"):
        Keys.read([f"a:{DIGEST}:rpm=1", f"a:{DIGEST}:rpm=2"])
