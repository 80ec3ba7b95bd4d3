"""The embedded redis-server: its data outlive it, and it says why it does not start."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from cli.embedded_redis import LONGEST_SOCKET_PATH, EmbeddedRedis, EmbeddedRedisError
from tests.cli.processes import gone


@pytest.mark.parametrize("port", [None, 0], ids=["socket", "port"])
@pytest.mark.parametrize("end", [EmbeddedRedis.stop, EmbeddedRedis.kill], ids=["stopped", "killed"])
def test_data_outlive_the_server(port: int | None, end: object, tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "data", port=port)
    with server:
        url = server.url
        redis.Redis.from_url(url).set("key", "value")
        assert callable(end)
        end(server)
        assert server.pid is None
        server.start()
        assert server.url == url
        assert redis.Redis.from_url(url).get("key") == b"value"
    assert server.pid is None


def test_without_append_only_nothing_is_kept(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, append_only=False) as server:
        redis.Redis.from_url(server.url).set("key", "value")
        server.stop()
        server.start()
        assert redis.Redis.from_url(server.url).get("key") is None


def test_only_this_user_can_reach_the_socket(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "data") as server:
        assert server.socket_path is not None
        assert stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o700
        assert redis.Redis.from_url(server.url).config_get("port") == {"port": "0"}


@pytest.mark.parametrize("name", ["long" * 30, "with a space", "50%25"])
def test_a_path_that_cannot_be_a_socket_url_gets_a_short_one(name: str, tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / name) as server:
        assert server.socket_path is not None
        assert len(os.fsencode(server.socket_path)) <= LONGEST_SOCKET_PATH
        assert server.url == f"unix://{server.socket_path}"
        assert redis.Redis.from_url(server.url).ping()
        assert EmbeddedRedis(tmp_path / name).url == server.url  # the same one at the next start
    server.socket_path.parent.rmdir()


def test_a_folder_of_somebody_elses_making_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path)
    with pytest.raises(EmbeddedRedisError, match="must be a folder of this user"):
        EmbeddedRedis(tmp_path / "data").start()


def test_a_port_in_use_is_told_with_the_end_of_the_log(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "one", port=0) as first:
        second = EmbeddedRedis(tmp_path / "two", port=first.port)
        with pytest.raises(EmbeddedRedisError, match=r"(?s)ended while it was starting.*Address already in use"):
            second.start()
        assert second.pid is None


def test_damaged_data_are_told_with_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(b"*3\r\nnonsense" * 100)
    with pytest.raises(EmbeddedRedisError, match="Bad file format"):
        EmbeddedRedis(tmp_path).start()


def test_another_process_at_the_address_is_not_taken_for_ours(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(EmbeddedRedisError):
            EmbeddedRedis(tmp_path, port=port).start()


def test_it_does_not_outlive_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cli.embedded_redis import EmbeddedRedis\n"
        "server = EmbeddedRedis(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        with gone(pid) as wait:
            owner.send_signal(signal.SIGKILL)
            wait()
    with EmbeddedRedis(tmp_path) as server:  # the stale socket is no obstacle
        assert redis.Redis.from_url(server.url).ping()
