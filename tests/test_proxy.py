"""The proxy does what its callers build on."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from cli.embedded_redis import EmbeddedRedis
from tests.proxy import Proxy
from tests.waiting import until


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedRedis:
    return EmbeddedRedis(tmp_path_factory.mktemp("redis"), port=0, append_only=False)


async def test_it_passes_cuts_hangs_and_heals(server: EmbeddedRedis) -> None:
    with server:
        assert server.port
        async with (
            Proxy(server.port) as proxy,
            Redis.from_url(server.url) as direct,
            Redis.from_url(proxy.redis_url) as client,
        ):
            assert await client.set("a", "1")
            proxy.cut()
            with pytest.raises(ConnectionError):
                await client.get("a")
            await until(lambda: proxy.open_connections == 0)
            proxy.heal()
            assert await client.get("a") == b"1"
            proxy.hang()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.incr("a")
            proxy.heal(drop=True)
            assert await client.get("a") == b"1"
            proxy.hang(requests=False)
            unheard = asyncio.create_task(client.incr("a"))
            async with asyncio.timeout(30):
                while await direct.get("a") != b"2":
                    await asyncio.sleep(0.005)
            assert not unheard.done()
            proxy.heal()
            assert await unheard == 2


async def test_it_loses_the_reply_to_what_was_done(server: EmbeddedRedis) -> None:
    with server:
        assert server.port
        async with Proxy(server.port) as proxy, Redis.from_url(proxy.redis_url) as client:
            assert await client.incr("a") == 1
            lost = proxy.swallow(b"INCR", 2)
            for _ in range(2):
                assert await client.ping()
                assert not lost.is_set()
                with pytest.raises(ConnectionError):
                    await client.incr("a")
            assert lost.is_set()
            assert await client.incr("a") == 4


async def test_what_hung_goes_on(server: EmbeddedRedis) -> None:
    with server:
        assert server.port
        async with Proxy(server.port) as proxy, Redis.from_url(proxy.redis_url) as client:
            await client.ping()
            proxy.hang()
            waiting = asyncio.create_task(client.incr("a"))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            proxy.heal()
            assert await waiting == 1
            assert proxy.accepted == 1
