"""The address guard: what a client's URL may reach, however it is written and whatever its name resolves to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from shared.address_guard import AddressGuard, AddressRefused

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001::1", "2001:db8::1", "2002:7f00:1::",
    "3fff::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
    "64:ff9b:1::1", "100::1", "5f00::1", "168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::a83f:8110",
]  # fmt: skip


def resolving(*answers: Sequence[str]) -> tuple[AddressGuard, list[str]]:
    """A guard whose resolver gives these answers in turn, and the hosts it was asked for."""
    asked: list[str] = []
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return left.pop(0)

    return AddressGuard(resolve=resolve), asked


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert AddressGuard().allows(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_other_addresses_are_refused_by_name_and_by_number(address: str) -> None:
    assert not AddressGuard().allows(ip_address(address))
    guard, _ = resolving([address])
    with pytest.raises(AddressRefused, match="not at a public address"):
        await guard.check("https://innocent.example/x.png")
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(AddressRefused):
        await AddressGuard().check(f"http://{literal}/")


async def test_one_private_address_among_public_ones_is_enough() -> None:
    guard, _ = resolving(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(AddressRefused):
        await guard.check("https://two.example/")


async def test_a_name_is_resolved_once_and_its_addresses_are_pinned() -> None:
    guard, asked = resolving(["8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "8.8.8.8"], ["127.0.0.1"])
    destination = await guard.check("HTTPS://Rebind.Example:8443/a?b=c#d")
    assert asked == ["rebind.example"]
    assert destination.url == "https://rebind.example:8443/a?b=c"
    assert (destination.scheme, destination.host, destination.port) == ("https", "rebind.example", 8443)
    assert list(map(str, destination.addresses)) == ["8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946"]
    with pytest.raises(AddressRefused):  # the next time is looked at again
        await guard.check("https://rebind.example:8443/a")


async def test_literal_addresses_ask_nobody() -> None:
    guard, asked = resolving()
    assert (await guard.check("http://8.8.8.8")).url == "http://8.8.8.8/"
    assert (await guard.check("http://[2606:2800:220::1]:80/x")).url == "http://[2606:2800:220::1]/x"
    assert (await guard.check("https://8.8.8.8:80?q")).url == "https://8.8.8.8:80/?q"
    assert asked == []


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://{host}/" for host in (
            "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "127.1", "127.0.1", "017700000001", "0", "1", "0x",
            "127.0.0.1.", "127.0.0.1..", "8.8.8.8.", "08.8.8.8", "256.1.1.1", "1.2.3.4.5", "example.com.0x7f", "a.1",
            "[::1", "::1", "[127.0.0.1]", "[fe80::1%25eth0]", "[::ffff:0x7f.1]", "[1:2]", "[v1.x]",
            "user@8.8.8.8", "user:secret@8.8.8.8", "8.8.8.8%00.example", "127%2e0%2e0%2e1", "a..b", ".a",
            "①②⑦.⓪.⓪.①", "127。0。0。1", "ex\u00e4mple.com", "a" * 64 + ".com", "a b.com", "a\tb.com", "",
        )),
        "http:8.8.8.8", "http:/8.8.8.8", "http:\\\\8.8.8.8", "http://8.8.8.8\\@example.com/", "//8.8.8.8/", "8.8.8.8",
        "http://8.8.8.8:0/", "http://8.8.8.8:65536/", "http://8.8.8.8:/", "http://8.8.8.8:+80/", "http://8.8.8.8:８０/",
        "file:///etc/passwd", "ftp://8.8.8.8/", "gopher://8.8.8.8/", "javascript:alert(1)", "unix:///var/run/x.sock",
        "http://8.8.8.8/\r\nHost: x", "http://8.8.8.8/ x", "http://8.8.8.8/\x00", "http://8.8.8.8/é", " http://8.8.8.8/",
        "http://8.8.8.8/" + "x" * 9000, "", "http://",
    ],
)  # fmt: skip
async def test_odd_spellings_and_other_schemes_are_refused(url: str) -> None:
    guard, asked = resolving()
    with pytest.raises(AddressRefused):
        await guard.check(url)
    assert asked == []


@pytest.mark.parametrize("host", ["example.com", "xn--exmple-cua.com", "a_b.example", "1e100.net", "0x7f.example", "a"])
async def test_ordinary_names_are_resolved(host: str) -> None:
    guard, asked = resolving(["8.8.8.8"])
    assert (await guard.check(f"http://{host}/")).host == host
    assert asked == [host]


async def test_a_name_that_is_not_found_is_refused() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    with pytest.raises(AddressRefused, match="cannot be found"):
        await AddressGuard(resolve=resolve).check("http://nowhere.example/")
    guard, _ = resolving([], ["rubbish"])
    for _ in range(2):
        with pytest.raises(AddressRefused, match="cannot be found"):
            await guard.check("http://nowhere.example/")


async def test_the_operator_may_allow_private_networks() -> None:
    guard = AddressGuard(["10.1.0.0/16", "fd00::/8"])
    for allowed in ("10.1.2.3", "[fd00::1]", "[::ffff:10.1.0.1]", "[64:ff9b::a01:1]"):
        assert (await guard.check(f"http://{allowed}/")).addresses
    for refused in ("10.2.0.1", "127.0.0.1", "[fc00::1]"):
        with pytest.raises(AddressRefused):
            await guard.check(f"http://{refused}/")
    with pytest.raises(ValueError):
        AddressGuard(["10.1.0.0/99"])


async def test_the_systems_resolver_is_asked() -> None:
    with pytest.raises(AddressRefused, match="not at a public address"):
        await AddressGuard().check("http://localhost:1/")
    destination = await AddressGuard(["127.0.0.0/8", "::1/128"]).check("http://localhost:1/")
    assert all(address.is_loopback for address in destination.addresses)


async def test_what_was_looked_up_is_not_told() -> None:
    guard, _ = resolving(["10.11.12.13"])
    with pytest.raises(AddressRefused) as refused:
        await asyncio.wait_for(guard.check("http://intranet.example/"), 5)
    assert "10.11" not in str(refused.value)
