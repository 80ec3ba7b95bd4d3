"""Helper processes: each takes orders as msgpack on its standard input and answers on its standard output."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Self, TypeVar

import msgspec

from cli.child import command

Answer = TypeVar("Answer")
CHECKOUT = Path(__file__).resolve().parent.parent
_SIZE = struct.Struct("<Q")


class Child(Generic[Answer]):
    """A module of this package run as a process of its own; `ask` it, or `tell` it now and `hear` it later."""

    def __init__(self, module: str, answer: Any, *arguments: str, log: Path | None = None) -> None:
        """`answer`: the type of its answers. It also ends when this process does."""
        self._decoder = msgspec.msgpack.Decoder(answer)
        self._log = log.open("ab") if log else None
        self._process = subprocess.Popen(
            command([sys.executable, "-m", module, *arguments]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=CHECKOUT,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, order: msgspec.Struct) -> Answer:
        self.tell(order)
        return self.hear()

    def tell(self, order: msgspec.Struct) -> None:
        assert self._process.stdin is not None
        _write(self._process.stdin, msgspec.msgpack.encode(order))

    def hear(self) -> Answer:
        """The answer to the oldest order. Raises RuntimeError when the process has ended instead."""
        assert self._process.stdout is not None
        data = _read(self._process.stdout)
        if data is None:
            raise RuntimeError(f"a helper process of the benchmark ended with status {self._process.wait()}")
        answer: Answer = self._decoder.decode(data)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        if self._log:
            self._log.close()


def serve(orders: Any, answer: Callable[[Any], msgspec.Struct]) -> None:
    """The child's side: answers each order in turn, until there are no more. `orders`: the type of an order."""
    decoder = msgspec.msgpack.Decoder(orders)
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while (data := _read(stdin)) is not None:
        _write(stdout, msgspec.msgpack.encode(answer(decoder.decode(data))))


def _read(stream: BinaryIO | Any) -> bytes | None:
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    data: bytes = stream.read(_SIZE.unpack(head)[0])
    return data


def _write(stream: BinaryIO | Any, data: bytes) -> None:
    stream.write(_SIZE.pack(len(data)) + data)
    stream.flush()
