"""Every way to reach Redis: TLS, Sentinel, and both; an answer that does not come, a master that is one no more."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)

from cli.embedded_redis import EmbeddedRedis, redis_server_binary
from cli.ports import free_port
from shared.redis import event_log, keys
from shared.redis.connection import connect
from shared.redis.outage import Outage, outage
from tests.certificates import certificate
from tests.conftest import StackFactory
from tests.proxy import Proxy
from tests.stack import Stack, test_settings
from tests.waiting import until
from tests.wire import check_stream, text_of
from workers.engine.scripted import Script, ScriptedEngine


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), port=0) as server:
        yield server


@pytest.fixture
async def make_at() -> AsyncIterator[Callable[..., object]]:
    """A front end and a worker on a URL."""
    stacks: list[Stack] = []

    async def make(url: str, **changes: object) -> Stack:
        stack = Stack(test_settings(url, redis_timeout_seconds=2.0, **changes))
        stacks.append(stack)
        await stack.add_worker(lambda *_: ScriptedEngine())
        await stack.add_front()
        return stack

    yield make
    for stack in stacks:
        await stack.stop()


def serving(folder: Path, host: str) -> tuple[str, ssl.SSLContext]:
    """The file of an authority, and what a server called `host` serves TLS with."""
    authority, leaf, key = certificate(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf, key)
    return authority, context


async def test_tls_with_an_authority_of_ones_own(server: EmbeddedRedis, tmp_path: Path, make_at: StackFactory) -> None:
    authority, tls = serving(tmp_path, "localhost")
    assert server.port
    async with Proxy(server.port, tls=tls) as proxy:
        url = f"rediss://localhost:{proxy.port}/0"
        with pytest.raises(ConnectionError, match=r"self-signed|unable to get local issuer"):
            await connect(url).ping()
        stack = await make_at(f"{url}?ssl_ca_certs={authority}")
        stack.engine.play(Script("over", " TLS"))
        assert text_of(check_stream(await stack.stream(input="Hi"))) == "over TLS"
        await stack.stop()


async def test_a_certificate_of_another_host_is_refused_unless_told(server: EmbeddedRedis, tmp_path: Path) -> None:
    authority, tls = serving(tmp_path, "redis.example.com")
    assert server.port
    async with Proxy(server.port, tls=tls) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={authority}"
        with pytest.raises(ConnectionError, match=r"IP address mismatch|certificate"):
            await connect(url).ping()
        for option in ("&ssl_check_hostname=false", "&ssl_cert_reqs=none"):
            client = connect(url + option)
            assert await client.ping()
            await client.aclose(close_connection_pool=True)


class Sentinel:
    """A master, a replica and one Sentinel that watches them."""

    def __init__(self, folder: Path) -> None:
        self.servers = [EmbeddedRedis(folder / name, port=0) for name in ("one", "two")]
        self.port = free_port()
        self._config = folder / "sentinel.conf"
        self._log = folder / "sentinel.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self.port}/main/0"

    async def start(self) -> None:
        for server in self.servers:
            server.start()
        master = self.servers[0]
        async with Redis.from_url(self.servers[1].url) as replica:
            await replica.execute_command("REPLICAOF", "127.0.0.1", master.port)  # type: ignore[no-untyped-call]
            async with asyncio.timeout(60):
                while (await replica.info("replication"))["master_link_status"] != "up":
                    await asyncio.sleep(0.05)
        self._config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._config.parent}\n"
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
        )
        with self._log.open("wb") as log:
            command = [redis_server_binary(), str(self._config), "--sentinel"]
            self._process = subprocess.Popen(  # noqa: ASYNC220
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        async with Redis(port=self.port) as sentinel, asyncio.timeout(90):
            while True:
                try:
                    if (await sentinel.sentinel_masters())["main"]["num-slaves"] == 1:
                        return
                except (ConnectionError, KeyError):
                    pass
                await asyncio.sleep(0.05)

    async def fail_over(self) -> None:
        async with Redis(port=self.port) as sentinel:
            async with asyncio.timeout(90):  # a Sentinel that stood still does nothing for 30 s
                while True:  # it refuses as long as it does not know the replica well
                    try:
                        await sentinel.execute_command("SENTINEL FAILOVER", "main")  # type: ignore[no-untyped-call]
                        break
                    except ResponseError:
                        await asyncio.sleep(0.1)
                while (await sentinel.sentinel_masters())["main"]["port"] != self.servers[1].port:
                    await asyncio.sleep(0.05)
        async with Redis.from_url(self.servers[0].url) as old, asyncio.timeout(90):
            while True:  # until it is told, it takes writes that will be lost
                try:
                    if (await old.info("replication"))["role"] == "slave":
                        return
                except ConnectionError:
                    pass
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        for server in self.servers:
            server.stop()


@pytest.fixture
async def sentinel(tmp_path: Path) -> AsyncIterator[Sentinel]:
    sentinel = Sentinel(tmp_path)
    try:
        await sentinel.start()
        yield sentinel
    finally:
        sentinel.stop()


@pytest.mark.timeout(400)
async def test_a_stream_outlasts_a_failover(sentinel: Sentinel, make_at: StackFactory) -> None:
    """Webs, workers and arq find the new master; the old one, which still answers, is left."""
    stack = await make_at(sentinel.url)
    gate = asyncio.Event()
    stack.engine.play(Script("one", gate, " two"), Script(" two"))  # should its lease lapse meanwhile, it goes on
    stream = asyncio.create_task(stack.stream(input="Hi"))
    await until(lambda: stack.engine.stats.generated_tokens == 1)
    await sentinel.fail_over()
    gate.set()
    final = check_stream(await stream)
    assert text_of(final) == "one two"
    async with Redis.from_url(sentinel.servers[1].url) as new:
        assert await new.hget(keys.response(final["id"]), "status") == b"completed"  # type: ignore[misc]
        assert await event_log.length(new, final["id"]) > 0
    async with asyncio.timeout(60):
        while (await stack.post(input="Hi"))[0] != 200:
            await asyncio.sleep(0.05)


class NamingTls(Proxy):
    """TLS in front of a Sentinel that knows its master by its port for plain text; clients hear of the other one."""

    def __init__(self, sentinel: Sentinel, master: Proxy, tls: ssl.SSLContext) -> None:
        super().__init__(sentinel.port, tls=tls)
        self._address = resp("127.0.0.1"), resp("localhost")
        self._port = resp(str(sentinel.servers[0].port)), resp(str(master.port))
        self.named = 0

    def passed(self, chunk: bytes) -> bytes:
        self.named += chunk.count(self._port[0])
        return chunk.replace(*self._address).replace(*self._port)


def resp(value: str) -> bytes:
    """A string as Redis' protocol has it."""
    return f"${len(value)}\r\n{value}\r\n".encode()


async def test_tls_to_a_sentinel_and_to_the_master_it_names(
    sentinel: Sentinel, tmp_path: Path, make_at: StackFactory
) -> None:
    authority, tls = serving(tmp_path, "localhost")
    assert sentinel.servers[0].port
    async with Proxy(sentinel.servers[0].port, tls=tls) as master, NamingTls(sentinel, master, tls) as naming:
        url = f"rediss+sentinel://localhost:{naming.port}/main/0"
        with pytest.raises(ConnectionError):  # an authority that nobody knows
            await connect(url).ping()
        assert (naming.named, master.accepted) == (0, 0)
        stack = await make_at(f"{url}?ssl_ca_certs={authority}")
        stack.engine.play(Script("over", " TLS"))
        final = check_stream(await stack.stream(input="Hi"))
        assert text_of(final) == "over TLS"
        assert naming.named > 0
        assert master.accepted > 0
        async with Redis.from_url(sentinel.servers[0].url) as plain:
            assert await plain.hget(keys.response(final["id"]), "status") == b"completed"  # type: ignore[misc]
        await stack.stop()


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://127.0.0.1:26379", "redis+sentinel:///main", "http://127.0.0.1", "redis+sentinel://h:1/"],
)
def test_a_url_that_means_nothing_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|scheme"):
        connect(url)


def test_a_sentinel_url_says_all() -> None:
    url = "rediss+sentinel://me:p%40ss@one:1,[::1]:2,three/main/5?ssl_ca_certs=/ca.pem&sentinel_password=s"
    pool = connect(url).connection_pool
    kwargs = pool.connection_kwargs
    assert (kwargs["username"], kwargs["password"], kwargs["db"]) == ("me", "p@ss", 5)
    assert (kwargs["ssl_ca_certs"], kwargs["ssl_check_hostname"]) == ("/ca.pem", True)
    assert pool.service_name == "main"
    sentinels = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in sentinels] == [("one", 1), ("::1", 2), ("three", 26379)]
    assert {each["password"] for each in sentinels} == {"s"}


async def test_silence_is_a_time_out_for_each_and_not_for_one_after_the_other(server: EmbeddedRedis) -> None:
    assert server.port
    async with Proxy(server.port) as proxy:
        proxy.hang()
        hasty = connect(proxy.redis_url, 0.2)
        answers = await asyncio.gather(*(hasty.ping() for _ in range(20)), return_exceptions=True)
        assert all(isinstance(answer, TimeoutError) for answer in answers)
        await hasty.aclose(close_connection_pool=True)
        proxy.heal(drop=True)
        await until(lambda: not proxy.open_connections)
        proxy.hang()
        client, before = connect(proxy.redis_url, 60.0), proxy.accepted
        pings = [asyncio.create_task(client.ping()) for _ in range(20)]
        await until(lambda: proxy.accepted == before + 20)  # side by side: no time-out has passed
        assert not any(ping.done() for ping in pings)
        proxy.heal()
        assert await asyncio.gather(*pings) == [True] * 20
        await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionError("refused"), "redis_unreachable"),
        (TimeoutError(), "redis_unreachable"),
        (OutOfMemoryError(), "redis_full"),
        (ReadOnlyError(), "redis_read_only"),
        (ResponseError("Error running script: @user_script:9: -OOM command not allowed"), "redis_full"),
        (ResponseError("Error running script: @user_script:9: -READONLY You can't write"), "redis_read_only"),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), "redis_read_only"),
        (ResponseError("WRONGTYPE Operation against a key"), None),
        (AuthenticationError("invalid password"), None),
        (ValueError("OOM"), None),
    ],
)
def test_outages_are_told_from_mistakes(error: Exception, kind: Outage | None) -> None:
    assert outage(error) == kind


def test_a_connection_that_closes_as_it_is_written_to_is_broken(server: EmbeddedRedis) -> None:
    """uvloop says so with a RuntimeError, which nobody who bears an outage knows."""

    async def write() -> None:
        client = connect(server.url)
        connection = await client.connection_pool.get_connection()
        assert connection._writer
        connection._writer.transport.abort()
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionError):
            await connection.send_command("PING")
        await client.connection_pool.release(connection)
        assert await client.ping()
        await client.aclose(close_connection_pool=True)

    uvloop.run(write())
