"""Names of hosts are looked up in threads of their own: clients choose them, and name servers may answer late or never.

No time limit ends a thread that waits for a name server. In the event loop's own threads a few such names would hold up
what else runs there, such as the check of a schema. Here they hold up other names at most, and not without end: what
waits is bounded, and who gives up leaves the queue.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

THREADS = 16
MOST = 256  # names of one process that are asked for and not answered


class NamesBusy(Exception):
    """As many names as may be are waited for."""


class Names:
    """The system's resolver."""

    def __init__(self, threads: int = THREADS, most: int = MOST) -> None:
        """`most`: how many may ask at once; beyond `threads` they wait."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="names")
        self._most = most
        self._asking = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host, as text. Raises OSError, UnicodeError, NamesBusy."""
        if self._asking >= self._most:
            raise NamesBusy
        self._asking += 1
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._threads, _look_up, host, port)
        finally:
            self._asking -= 1
        return found


def _look_up(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


resolve = Names().resolve  # of this process
