"""A front end that others can reach has keys, or somebody said that it needs none."""

from __future__ import annotations

import pytest

from shared.api_keys import entry_of, new_key
from shared.exposure import check_exposure, is_loopback
from shared.settings import Settings, SettingsError

PUBLIC = ("0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "8.8.8.8", "fe80::1", "no-such-host.invalid")
OURS = ("127.0.0.1", "127.8.8.8", "::1", "localhost")


@pytest.mark.parametrize("host", PUBLIC)
def test_an_address_that_others_reach_needs_keys(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(SettingsError, match=r"API_KEYS .* ALLOW_ANONYMOUS=1"):
        check_exposure(Settings(host=host))
    check_exposure(Settings(host=host, allow_anonymous=True))
    check_exposure(Settings(host=host, api_keys=(entry_of("a", new_key()),)))


@pytest.mark.parametrize("host", OURS)
def test_our_own_addresses_need_none(host: str) -> None:
    check_exposure(Settings(host=host))


def test_wrong_keys_are_no_keys() -> None:
    with pytest.raises(SettingsError, match="entry 1"):
        check_exposure(Settings(host="127.0.0.1", api_keys=("typo",)))
