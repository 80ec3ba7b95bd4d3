"""Which MCP servers may be reached: the operator's list (`MCP_ALLOWED_HOSTS`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

from shared.address_guard import (
    Address,
    AddressRefused,
    Destination,
    Resolve,
    destination_of,
    is_public,
    reached_address,
)
from shared.names import resolve
from shared.settings import SettingsError

PUBLIC = "public"

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")

# Where clouds tell machines their secrets, and what is no single machine: no MCP server is there, whatever is listed.
# Alibaba's, Oracle's and Azure's metadata are at IPv4 addresses of their own, the others' at 169.254.0.0/16; in IPv6
# there are those of AWS, Google, Scaleway and Akamai.
_NEVER = [
    ip_network(text)
    for text in ("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32", "192.0.0.192/32",
                 "168.63.129.16/32", "::/128", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "fd20:ce::254/128",
                 "fd00:42::42/128", "fd00:a9fe:a9fe::/48")
]  # fmt: skip
# IPv6 whose last 32 bits a router or a host may take for an IPv4 address: RFC 8215 (NAT64 of one's own), RFC 2765
# (translated), beside those that `reached_address` knows.
_TRANSLATED = [IPv6Network(text) for text in ("64:ff9b:1::/48", "::ffff:0:0:0/96")]


class McpHosts:
    """The allow-list. An entry is `public` (every public address), a host's name, `*.example.com` (every host below
    it), an IP address or a network (10.1.0.0/16); names and addresses may have a port (`tools.local:8000`,
    `[fd00::1]:8000`). What is listed may be private; what is not has to be public, and only if `public` is listed."""

    def __init__(self, entries: Sequence[str], resolve: Resolve = resolve) -> None:
        """Raises SettingsError for an entry that cannot be read."""
        self._resolve = resolve
        self._public = False
        self._names: set[tuple[str, int | None]] = set()  # a name that begins with a dot: all hosts below it
        self._networks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        for entry in entries:
            self._add(entry)

    async def check(self, url: str) -> Destination:
        """Where `url` leads; its name is resolved once, and that is where connections have to go. Raises
        AddressRefused, whose message is for the client and shows neither path nor query."""
        target = await destination_of(url, self._resolve)
        if not target.has_name and reached_address(target.addresses[0]) != target.addresses[0]:
            raise AddressRefused("its host is an IPv4 address written as IPv6; write it as IPv4")
        named = target.has_name and self._has_name(target.host, target.port)
        if not all(self._allows(address, target.port, named) for address in target.addresses):
            raise AddressRefused(
                f"the host '{target.host}' is not among those that MCP servers may be at (MCP_ALLOWED_HOSTS)"
            )
        return target

    def _add(self, entry: str) -> None:
        text, port = entry.strip().lower(), None
        if text == PUBLIC:
            self._public = True
            return
        found = _PORT.fullmatch(text)
        if found is not None:
            text, port = found["host"], int(found["port"])
        inner = text[1:-1] if text.startswith("[") and text.endswith("]") and ":" in text else text
        try:
            self._networks.append((ip_network(inner), port))
            valid = True
        except ValueError:
            numeric = text.rpartition(".")[2].isdigit()  # neither a name nor, as was just seen, an address
            valid = _NAME.fullmatch(text) is not None and not numeric
            self._names.add((text.removeprefix("*"), port))
        if not valid or (port is not None and not 0 < port < 65536):
            raise SettingsError(
                f"MCP_ALLOWED_HOSTS has {entry!r}: expected {PUBLIC}, a host, *.host, an address or a network, "
                "and for a host or an address maybe :port"
            )

    def _has_name(self, host: str, port: int) -> bool:
        labels = host.split(".")
        below = ("." + ".".join(labels[i:]) for i in range(1, len(labels)))
        return any((name, at) in self._names for name in (host, *below) for at in (port, None))

    def _allows(self, address: Address, port: int, named: bool) -> bool:
        reached = reached_address(address)
        if reached is None or any(one in network for one in (reached, *_within(reached)) for network in _NEVER):
            return False
        if named or any(reached in network and at in (port, None) for network, at in self._networks):
            return True
        return self._public and is_public(reached)


def _within(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address may stand for."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _TRANSLATED):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]
