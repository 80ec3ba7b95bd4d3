"""A connection that was closed under its user's hands: the next command opens another one."""

from __future__ import annotations

import pytest
import uvloop
from redis.exceptions import ConnectionError

from shared.redis.connection import connect


@pytest.mark.parametrize("retry", [True, False])
def test_a_closed_transport_of_uvloop_is_a_lost_connection(redis_url: str, retry: bool) -> None:
    async def use() -> None:
        client = connect(redis_url, retry=retry)
        connection = await client.connection_pool.get_connection("PING")
        assert connection._writer is not None
        connection._writer.transport.abort()
        # what send_packed_command meets when the loss was not noticed yet: uvloop raises RuntimeError here
        if retry:
            await client.connection_pool.release(connection)
            assert await client.ping()
        else:
            with pytest.raises(ConnectionError):
                await connection.send_command("PING")
            await client.connection_pool.release(connection)
        await client.aclose(close_connection_pool=True)

    uvloop.run(use())
