"""Whether a front end may listen where its settings say: on an address that others can reach only with API keys."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from shared.api_keys import Keys
from shared.settings import Settings, SettingsError


def check_exposure(settings: Settings) -> None:
    """Raises SettingsError where anybody could ask: no keys, an address that is not this machine's own, and nobody has
    said that this is meant."""
    if not Keys.read(settings.api_keys) and not settings.allow_anonymous and not is_loopback(settings.host):
        raise SettingsError(
            f"HOST is {settings.host}, which others may reach, and there are no keys: anybody could use the models. "
            "Set API_KEYS (`llamarelay key NAME` makes one), or ALLOW_ANONYMOUS=1 if that is meant, "
            "or HOST=127.0.0.1 for this machine alone"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`, an address or a name."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        return bool(found) and all(ip_address(str(address).partition("%")[0]).is_loopback for address in found)
    except (OSError, ValueError):
        return False
