"""The clients, in a process of their own: raw sockets that note when which bytes came, and look at nothing.

    python -m bench.load

Everything is read and parsed afterwards (`bench.wire`), so that the clients take as little of the machine as they can.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from urllib.parse import urlsplit

from msgspec import Struct

from bench.child import Child, serve

RECEIVE = 1 << 18


class Post(Struct):
    """Bodies that are posted to `url` at the same moment, each on a connection of its own."""

    url: str
    bodies: list[bytes]
    headers: dict[str, str] = {}
    timeout_seconds: float = 120.0


class Received(Struct):
    """What came on one connection: times by `time.monotonic()`, and the bytes that came then."""

    sent: float
    times: list[float]
    data: list[bytes]
    closed: bool  # the server closed it; otherwise time ran out


class Answers(Struct):
    connections: list[Received]


Clients = Child[Answers]


def clients() -> Clients:
    """A process of clients."""
    return Child("bench.load", Answers)


def post(order: Post) -> Answers:
    """Opens all connections, then sends all requests, then reads until all are closed."""
    target = urlsplit(order.url)
    requests = [_request(order, target.netloc, target.path or "/", body) for body in order.bodies]
    connections = [_connect(target.scheme, target.hostname or "127.0.0.1", target.port) for _ in requests]
    received = [Received(0.0, [], [], False) for _ in requests]
    selector = selectors.DefaultSelector()
    for connection, request, one in zip(connections, requests, received, strict=True):
        one.sent = time.monotonic()
        connection.sendall(request)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, one)
    deadline = time.monotonic() + order.timeout_seconds
    open_connections = len(connections)
    while open_connections and (left := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            if _receive(key.fileobj, key.data):  # type: ignore[arg-type]
                selector.unregister(key.fileobj)
                open_connections -= 1
    for connection in connections:
        connection.close()
    return Answers(received)


def _receive(connection: socket.socket, into: Received) -> bool:
    """Reads what is there; True at the end of the connection."""
    try:
        data = connection.recv(RECEIVE)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    into.times.append(time.monotonic())
    into.data.append(data)
    into.closed = not data
    return not data


def _connect(scheme: str, host: str, port: int | None) -> socket.socket:
    connection = socket.create_connection((host, port or (443 if scheme == "https" else 80)), 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if scheme == "https":
        connection = ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    return connection


def _request(order: Post, host: str, path: str, body: bytes) -> bytes:
    headers = {
        "Host": host,
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **order.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


if __name__ == "__main__":
    serve(Post, post)
