"""How every process connects to Redis."""

from __future__ import annotations

import asyncio
import builtins
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, ResponseError, TimeoutError

from shared.redis.outage import ReadOnlyConnection, is_read_only
from shared.redis.queue import deserialize, serialize

BROKEN = (ConnectionError, BusyLoadingError, builtins.ConnectionError, FileNotFoundError)
"""What is tried again at once: a connection that broke or is refused (a Unix socket may not be there yet), a server
that loads its data. A time-out is not: the next try would take as long."""
TRIES = 3
SENTINEL_PORT = 26379
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")


def connect(url: str, timeout: float | None = 5.0, *, retry: bool = True) -> ArqRedis:
    """A client with a pool of connections; nothing is sent yet. Raises ValueError for a URL that means nothing.

    `url`: redis://, rediss:// (TLS), unix://, or redis+sentinel:// and rediss+sentinel:// with
    `[user:password@]host:port,host:port/service[/db]`; all with redis-py's options in the query.
    `timeout`: seconds that connecting and an answer may take (None: an answer may take for ever).
    `retry`: whether a command that meets a broken connection is tried again a few times. It may have been done all the
        same: every script bears that, and answers as it did (but for `release`).
    """
    backoff, tries = (ExponentialBackoff(cap=0.2, base=0.01), TRIES) if retry else (NoBackoff(), 0)
    options: dict[str, Any] = {
        "retry": Retry(backoff, tries, BROKEN),  # type: ignore[arg-type]
        "retry_on_error": list(BROKEN) if retry else [],
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout or 5.0,
        "socket_keepalive": True,
    }
    parts = urlsplit(url)
    pool = _sentinel_pool(parts, options) if parts.scheme in SENTINEL_SCHEMES else _pool(url, options)
    return ArqRedis(pool, job_serializer=serialize, job_deserializer=deserialize)


def check_options(url: str) -> None:
    """Raises ValueError, which shows no value, where redis-py knows an option of the URL not, or not its value."""
    try:
        connect(url).connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, RedisError) as error:
        name = re.search("'(\\w+)'", str(error)) if not isinstance(error, RedisError) else None
        what = f"the option {name[1]}" if name else "an option"
        raise ValueError(f"redis-py does not know {what} of the URL, or not its value") from None


def _pool(url: str, options: dict[str, Any]) -> ConnectionPool:
    options = {**options, **parse_url(url)}
    kind = options.get("connection_class", Connection)
    if kind is UnixDomainSocketConnection:
        del options["socket_keepalive"]
    options["connection_class"] = {
        Connection: _Plain,
        SSLConnection: _Tls,
        UnixDomainSocketConnection: _Unix,
    }[kind]
    if kind is SSLConnection:
        _check_host_name(options)
    return _Pool(**options)


def _sentinel_pool(parts: SplitResult, options: dict[str, Any]) -> ConnectionPool:
    """A pool that asks the Sentinels of a URL for the master whenever it opens a connection."""
    login, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not hosts:
        raise ValueError(f"expected {parts.scheme}://host:port,host:port/service, got no service or no host")
    scheme = parts.scheme.partition("+")[0]
    at = f"{login}@" if login else ""
    given: dict[str, Any] = dict(parse_url(f"{scheme}://{at}sentinel/{database}?{parts.query}"))
    del given["host"]
    about_sentinel = {
        name.removeprefix("sentinel_"): unquote(given.pop(name)) for name in list(given) if name.startswith("sentinel_")
    }
    tls = given.pop("connection_class", None) is SSLConnection
    options = {**options, **given}
    if tls:
        _check_host_name(options)
    sockets = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl_"))}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")], sentinel_kwargs={**sockets, **about_sentinel, "ssl": tls}
    )
    kind = _SentinelTls if tls else _SentinelPlain
    return _SentinelPool(service, sentinel, connection_class=kind, **options)  # type: ignore[no-untyped-call]


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    return parts.hostname or "", parts.port or SENTINEL_PORT


def _check_host_name(options: dict[str, Any]) -> None:
    """A certificate that is checked is checked for the host's name too, unless the URL says otherwise."""
    if options.get("ssl_cert_reqs", "required") != "none":
        options.setdefault("ssl_check_hostname", True)


class _Connection(AbstractConnection):
    """A connection that is given up when its server turns out to be a replica: the next one may find the master."""

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*arguments, **options)
        except ResponseError as error:
            if is_read_only(error):
                await self.disconnect(nowait=True)
                raise ReadOnlyConnection(str(error)) from None
            raise

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """As redis-py's, but without `asyncio.wait_for`: that starts a task for each command, and where it has just
        ended it swallows a cancellation (Python 3.11)."""
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        elif check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        command = command.encode() if isinstance(command, str) else command
        assert self._writer is not None
        try:
            self._writer.writelines([command] if isinstance(command, bytes) else command)
            async with asyncio.timeout(self.socket_timeout):
                await self._writer.drain()
        except builtins.TimeoutError:
            await self.disconnect(nowait=True)
            raise TimeoutError("Timeout writing to socket") from None
        except (OSError, RuntimeError) as error:  # uvloop's RuntimeError: the transport has closed meanwhile
            await self.disconnect(nowait=True)
            raise ConnectionError(f"Error while writing to socket: {error}") from error
        except BaseException:
            await self.disconnect(nowait=True)
            raise


class _Plain(_Connection, Connection):
    pass


class _Tls(_Connection, SSLConnection):
    pass


class _Unix(_Connection, UnixDomainSocketConnection):
    pass


class _SentinelPlain(_Connection, SentinelManagedConnection):
    pass


class _SentinelTls(_Connection, SentinelManagedSSLConnection):
    pass


class _Parallel(ConnectionPool):
    """A pool whose users connect side by side: redis-py's holds a lock meanwhile, so that with a server that does not
    answer each would wait for the time-outs of all before it."""

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> AbstractConnection:
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection


class _Pool(_Parallel):
    pass


class _SentinelPool(_Parallel, SentinelConnectionPool):
    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:  # at the end, not when the master has changed
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose(close_connection_pool=True)
