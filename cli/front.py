"""What `llamarelay up` asks the web process it started, and what it shows when that answers."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Callable
from typing import Any

POLL_SECONDS = 0.05
ANSWER_SECONDS = 5.0


class Front:
    """The web process at `host` and `port`, seen from this machine; `key` where it asks for one."""

    def __init__(self, host: str, port: int, key: str | None = None) -> None:
        self._host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    @property
    def url(self) -> str:
        """The base URL for OpenAI's SDK."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/v1"

    async def wait_until_ready(self, show: Callable[[str], None]) -> None:
        """Returns when /readyz says 200; `show` is told what is being waited for, each time that changes."""
        shown = None
        while True:
            status = await asyncio.to_thread(self._status)
            if status == 200:
                return
            waiting = "the web process" if status is None else "a worker to load its model"
            if waiting != shown:
                show(waiting)
                shown = waiting
            await asyncio.sleep(POLL_SECONDS)

    async def models(self) -> list[str]:
        """The ids that /v1/models lists."""
        answer = await asyncio.to_thread(self._get, "/v1/models")
        return [str(model["id"]) for model in json.loads(answer[1])["data"]]

    def curl(self, model: str) -> str:
        """A command line to try."""
        body = json.dumps({"model": model, "input": "Provide a prime number less than 50"})
        key = " -H 'Authorization: Bearer YOUR_KEY'" if self._headers else ""
        return f"curl {self.url}/responses{key} -H 'Content-Type: application/json' -d '{body}'"

    def _status(self) -> int | None:
        try:
            return self._get("/readyz")[0]
        except (OSError, http.client.HTTPException):
            return None

    def _get(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
