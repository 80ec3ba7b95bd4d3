"""TCP ports for servers that are started later."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 15_000, 32_767  # below what Linux, macOS and RFC 6335 lend to outgoing connections
TRIES = 100


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nobody listens on now, and that no outgoing connection will take.

    Raises OSError where nothing can listen on `host`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    tried = 0
    while True:
        port = random.randint(LOWEST, HIGHEST)  # noqa: S311
        tried += 1
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((host, port))
                return port
        except OSError:
            if tried == TRIES:
                raise


def port_in_use(host: str, port: int) -> str | None:
    """Why nothing can listen on `host` and `port`, None if it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server does: TIME_WAIT is no obstacle
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return None
