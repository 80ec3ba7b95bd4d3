"""Fetches what a client names by its URL, from public addresses only (`shared.address_guard`)."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from shared.address_guard import AddressGuard, AddressRefused, Destination

MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "llamarelay"}


class DownloadFailed(Exception):
    """The message says why, for the client."""


class Download(NamedTuple):
    data: bytes
    name: str  # the last part of the path, "" if there is none


async def download(url: str, guard: AddressGuard, *, max_bytes: int, seconds: float) -> Download:
    """What `url` holds, after some redirects. Raises AddressRefused, DownloadFailed."""
    try:
        async with asyncio.timeout(seconds):
            for _ in range(MAX_REDIRECTS + 1):
                destination = await guard.check(url)
                found = await _get(destination, max_bytes)
                if isinstance(found, Download):
                    return found
                url = urljoin(destination.url, found)
    except TimeoutError:
        raise DownloadFailed(f"it did not come within {seconds:g} s") from None
    except AddressRefused:
        raise
    except (aiohttp.ClientError, OSError, ValueError):
        raise DownloadFailed("its host does not answer as it should") from None
    raise DownloadFailed(f"it redirects more than {MAX_REDIRECTS} times")


async def _get(destination: Destination, max_bytes: int) -> Download | str:
    """What is there, or where it has moved."""
    connector = aiohttp.TCPConnector(resolver=_Pinned(destination), use_dns_cache=False, force_close=True)
    async with (
        aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, headers=HEADERS
        ) as session,
        session.get(destination.url, allow_redirects=False) as answer,
    ):
        if answer.status in REDIRECTS and "Location" in answer.headers:
            return answer.headers["Location"]
        if answer.status != 200:
            raise DownloadFailed(f"its host answers with the status {answer.status}")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DownloadFailed("its host sends it compressed, which was not asked for")
        data = bytearray()
        if (answer.content_length or 0) <= max_bytes:
            async for piece in answer.content.iter_any():
                data += piece
                if len(data) > max_bytes:
                    break
        if len(data) > max_bytes or (answer.content_length or 0) > max_bytes:
            raise DownloadFailed(f"it has more than {max_bytes} bytes")
        name = unquote(urlsplit(destination.url).path.rpartition("/")[2], errors="replace")
        return Download(bytes(data), name)


class _Pinned(AbstractResolver):
    """Knows the addresses of one host: those that were checked."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host != self._destination.host:
            raise OSError(f"{host} is not where it should go")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._destination.addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
