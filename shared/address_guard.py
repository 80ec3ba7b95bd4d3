"""Where a client may send this server: public addresses, and private ones only where the operator says so.

Whoever names a URL that a server fetches could reach what only the server can: its own machine, its network, a cloud's
metadata service. So a URL is checked as text, its host is resolved once, every address of it is checked, and the
connection has to go to one of those and nowhere else: `Destination.addresses`, with the host's name in `Host` and TLS.
A redirect is a new URL and is checked like the first.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from shared.names import NamesBusy, resolve

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text; the port is only a hint. Raises OSError, NamesBusy."""

PORTS = {"http": 80, "https": 443}
MAX_URL = 8192

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?][!-\[\]-~]*)?",
    re.IGNORECASE,
)
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)

# https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-special-registry
_NOT_PUBLIC_4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # of no registry: Azure's machines reach their host there, certificates and goal state too
    )
]  # fmt: skip
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
_NAT64 = IPv6Network("64:ff9b::/96")  # the last 32 bits are the address that is reached in the end


class AddressRefused(ValueError):
    """A URL that must not be fetched. The message is for the client: it tells nothing that was looked up."""


class HostNotFound(AddressRefused):
    """Its host has no address now."""


class NotLookedUp(HostNotFound):
    """Too many other names are waited for: nobody knows whether its host has an address."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL that may be fetched, from these addresses only."""

    url: str = field(repr=False)  # without fragment, the host in lower case; its path and query may be secret
    scheme: str
    host: str  # a name or an address; no brackets
    port: int
    addresses: tuple[Address, ...]

    @property
    def has_name(self) -> bool:
        """Whether the host is a name and no address."""
        return ":" not in self.host and not self.host.replace(".", "").isdigit()


class AddressGuard:
    """Checks URLs before they are fetched."""

    def __init__(self, private_networks: Iterable[str] = (), resolve: Resolve = resolve) -> None:
        """`private_networks`: networks (CIDR) that may be reached though they are not public. Raises ValueError."""
        self._allowed = [ip_network(network) for network in private_networks]
        self._resolve = resolve

    async def check(self, url: str) -> Destination:
        """Where `url` leads. Raises AddressRefused."""
        destination = await destination_of(url, self._resolve)
        if not all(map(self.allows, destination.addresses)):
            raise AddressRefused(f"the host '{destination.host}' is not at a public address")
        return destination

    def allows(self, address: Address) -> bool:
        """Whether an address may be connected to."""
        reached = reached_address(address)
        if reached is None:
            return False
        return any(reached in network for network in self._allowed) or is_public(reached)


async def destination_of(url: str, resolve: Resolve) -> Destination:
    """Where `url` leads, whether or not that may be reached; a name is resolved once. Raises AddressRefused for a URL
    that two readers could understand differently, and HostNotFound for a name that is not found."""
    scheme, host, port, rest = _read(url)
    literal = _literal(host)
    if literal is not None:
        addresses = [literal]
    else:
        try:
            addresses = [ip_address(text) for text in await resolve(host, port)]
        except NamesBusy:
            message = f"too many names are looked up here at the moment; '{host}' was not, try again later"
            raise NotLookedUp(message) from None
        except (OSError, UnicodeError, ValueError):
            raise HostNotFound(f"the host '{host}' cannot be found") from None
    if not addresses:
        raise HostNotFound(f"the host '{host}' cannot be found")
    name = f"[{host}]" if isinstance(literal, IPv6Address) else host
    at = "" if port == PORTS[scheme] else f":{port}"
    unique = tuple(dict.fromkeys(addresses))
    return Destination(f"{scheme}://{name}{at}{rest}", scheme, host, port, unique)


def reached_address(address: Address) -> Address | None:
    """The address that is reached in the end: the IPv4 address within a mapped or NAT64 one. None for an address with
    a zone, which says which of this machine's networks is meant."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether an address, as `reached_address` gives it, is anybody's to reach."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def _read(url: str) -> tuple[str, str, int, str]:
    """Scheme, host without brackets, port, and the rest from the path on: only what no two readers understand
    differently, so neither credentials, backslashes, encoded hosts nor anything but ASCII."""
    if len(url) > MAX_URL:
        raise AddressRefused(f"a URL may have {MAX_URL} characters")
    found = _URL.fullmatch(url.partition("#")[0])
    if found is None:
        raise AddressRefused("it is not a plain URL of the form https://host/path")
    scheme, host = found["scheme"].lower(), found["host"].lower().strip("[]")
    if scheme not in PORTS:
        raise AddressRefused(f"the scheme is '{scheme}', expected http or https")
    port = int(found["port"]) if found["port"] else PORTS[scheme]
    if not 0 < port < 65536:
        raise AddressRefused(f"there is no port {port}")
    rest = found["rest"] or "/"
    return scheme, host, port, rest if rest.startswith("/") else f"/{rest}"


def _literal(host: str) -> Address | None:
    """The address that `host` is, None for a name. Raises AddressRefused for the odd spellings that other readers
    take for addresses (0177.1, 0x7f000001, 2130706433, 127.0.0.1.)."""
    if ":" not in host and not _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]):
        if len(host) > 253 or not all(0 < len(label) < 64 for label in host.split(".")):
            raise AddressRefused("it does not name a host")
        return None
    try:
        return ip_address(host)
    except ValueError:
        raise AddressRefused("its host is neither a name nor an address in its usual form") from None
