"""The allow-list of MCP servers: what is listed may be reached, and nothing else, however it is written."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shared.address_guard import AddressRefused
from shared.mcp_hosts import McpHosts
from shared.settings import Settings, SettingsError

PUBLIC = Settings().mcp_allowed_hosts


def hosts(*entries: str, **names: Sequence[str]) -> McpHosts:
    """An allow-list where `a_b=[...]` says which addresses a.b has."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return names[host.replace(".", "_")]

    return McpHosts(entries, resolve)


async def allowed(given: McpHosts, url: str) -> bool:
    try:
        await given.check(url)
    except AddressRefused:
        return False
    return True


async def test_public_addresses_by_default() -> None:
    given = hosts(*PUBLIC, a_example=["8.8.8.8"], b_example=["10.0.0.1"], c_example=["8.8.8.8", "127.0.0.1"])
    assert await allowed(given, "https://a.example/mcp")
    assert await allowed(given, "http://8.8.8.8:8000/mcp")
    for private in ("b.example", "c.example", "127.0.0.1", "[::1]", "192.168.1.1", "[fd00::1]"):
        assert not await allowed(given, f"http://{private}/mcp")


async def test_without_public_only_what_is_listed() -> None:
    given = hosts("a.example", a_example=["8.8.8.8"], b_example=["8.8.8.8"], x_a_example=["8.8.8.8"])
    assert await allowed(given, "https://A.example/")
    for other in ("b.example", "8.8.8.8", "x.a.example"):
        assert not await allowed(given, f"https://{other}/")
    assert not await allowed(hosts(), "https://8.8.8.8/")


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("tools.lan", "http://tools.lan:9/"),
        ("TOOLS.lan:8000", "http://tools.lan:8000/"),
        ("*.lan", "http://tools.lan/"),
        ("*.lan:80", "http://tools.lan/"),
        ("localhost", "http://localhost:5/"),
        ("10.0.0.1", "http://10.0.0.1:77/"),
        ("10.0.0.1", "http://tools.lan/"),
        ("10.0.0.1:8000", "http://10.0.0.1:8000/"),
        ("10.0.0.0/8", "http://tools.lan/"),
        ("10.0.0.0/8", "http://10.9.9.9/"),
        ("fd00::/8", "http://[fd00::7]/"),
        ("fd00::7", "http://[fd00::7]:5/"),
        ("[fd00::7]", "http://[fd00::7]:5/"),
        ("[fd00::7]:8000", "http://[fd00:0::7]:8000/"),
        ("::1", "http://[::1]/"),
    ],
)
async def test_private_addresses_when_listed(entry: str, url: str) -> None:
    names = {"tools_lan": ["10.0.0.1"], "localhost": ["127.0.0.1", "::1"]}
    assert await allowed(hosts(entry, **names), url)
    assert not await allowed(hosts(*PUBLIC, **names), url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("tools.lan:8000", "http://tools.lan:8001/"),
        ("tools.lan:8000", "http://tools.lan/"),
        ("tools.lan:443", "http://tools.lan/"),
        ("*.lan", "http://lan/"),
        ("*.lan", "http://toolslan/"),
        ("lan", "http://tools.lan/"),
        ("ools.lan", "http://tools.lan/"),
        ("10.0.0.1:8000", "http://10.0.0.1/"),
        ("10.0.0.1", "http://10.0.0.2/"),
        ("10.0.0.1", "http://both.lan/"),
        ("10.0.0.0/24", "http://10.0.1.1/"),
        ("fd00::7", "http://[fd00::8]/"),
        ("127.0.0.1", "http://[::1]/"),
    ],
)
async def test_what_is_near_is_not_listed(entry: str, url: str) -> None:
    names = {
        "tools_lan": ["10.0.0.7"],
        "lan": ["10.0.0.7"],
        "toolslan": ["10.0.0.7"],
        "both_lan": ["10.0.0.1", "10.0.0.2"],
    }
    assert not await allowed(hosts("public", entry, **names), url)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "0.0.0.0",
                "255.255.255.255", "224.0.0.1", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "fd00:a9fe:a9fe::1",
                "fe80::1", "fe80::a9fe:a9fe", "fe80::1%eth0", "::", "ff02::1", "::ffff:169.254.169.254",
                "::ffff:168.63.129.16", "64:ff9b::a9fe:a9fe", "64:ff9b::a83f:8110", "64:ff9b:1::a9fe:a9fe",
                "64:ff9b:1:2:3:4:a83f:8110", "::ffff:0:169.254.169.254", "2002:a9fe:a9fe::1",
                "2001::5601:5601"],
)  # fmt: skip
async def test_metadata_services_are_never_reached(address: str) -> None:
    given = hosts("public", "evil.example", "*.lan", "0.0.0.0/0", "::/0", evil_example=[address], x_lan=[address])
    literal = f"[{address}]" if ":" in address else address
    for host in ("evil.example", "x.lan", literal):
        assert not await allowed(given, f"http://{host}/latest/meta-data")


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://{host}/mcp" for host in (
            "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "127.1", "127.0.0.1.", "0", "017700000001",
            "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[::ffff:8.8.8.8]", "[::1%25lo]",
            "user:pass@127.0.0.1", "127.0.0.1%00.example", "①②⑦.⓪.⓪.①", "127。0。0。1",
        )),
        "file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "unix:///run/x.sock", "ws://127.0.0.1/",
        "stdio://x", "//127.0.0.1/", "http:127.0.0.1", "http://127.0.0.1\\@example.com/", "http://127.0.0.1/\r\nX: y",
        "",
    ],
)  # fmt: skip
async def test_odd_spellings_are_refused_even_where_the_address_is_listed(url: str) -> None:
    given = McpHosts(["public", "127.0.0.1", "127.0.0.0/8", "::1", "::ffff:0:0/96"])
    with pytest.raises(AddressRefused):
        await given.check(url)


async def test_a_name_is_resolved_once_and_pinned() -> None:
    answers = [["8.8.8.8"], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    given = McpHosts(PUBLIC, resolve)
    target = await given.check("https://rebind.example/mcp")
    assert [str(address) for address in target.addresses] == ["8.8.8.8"]
    with pytest.raises(AddressRefused):
        await given.check("https://rebind.example/mcp")


async def test_refusals_and_targets_show_no_secret() -> None:
    given = hosts(*PUBLIC, a_example=["10.11.12.13"], b_example=["8.8.8.8"])
    for url in (
        "http://a.example/s3cret?key=s3cret",
        "http://u:s3cret@a.example/",
        "s3cret://a.example"[3:],
        "x:s3cret",
    ):
        with pytest.raises(AddressRefused) as refused:
            await given.check(url)
        assert "10.11" not in str(refused.value)
        assert "/s3cret" not in str(refused.value)
        assert "key" not in str(refused.value)
    with pytest.raises(AddressRefused, match="MCP_ALLOWED_HOSTS"):
        await given.check("http://a.example/")
    assert "s3cret" not in repr(await given.check("http://b.example/s3cret?s3cret"))


@pytest.mark.parametrize(
    "entry",
    ["", "*", "*.", "a b", "http://a.example", "a.example/mcp", "a.example:", "a.example:0", "a.example:65536",
     "a.example:http", "10.0.0.1/99", "10.0.0.1/8", "10.0.0.0/8x", "300.1.1.1", "1.2.3", "[::1", "::1]:80",
     "a.*.example", "-a.example", "[a.example]:80", "fd00::/8:80"],
)  # fmt: skip
def test_bad_entries_are_named(entry: str) -> None:
    with pytest.raises(SettingsError, match="MCP_ALLOWED_HOSTS"):
        McpHosts([entry])
