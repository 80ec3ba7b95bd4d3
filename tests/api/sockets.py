"""A raw WebSocket client for tests; every frame it receives is validated strictly against the types of `openai`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import ClientWebSocketResponse, WSMsgType
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter

from tests.stack import MODEL, Stack
from tests.wire import TERMINAL, Event

_server_event: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)


class Socket:
    """One connection."""

    def __init__(self, raw: ClientWebSocketResponse) -> None:
        self.raw = raw

    @classmethod
    async def open(cls, stack: Stack, *, front: int = 0, **options: Any) -> Socket:
        return cls(await stack.http.ws_connect(stack.fronts[front].url + "/v1/responses", **options))

    async def create(self, **fields: Any) -> None:
        """Sends a `response.create` frame."""
        await self.raw.send_json({"type": "response.create", "model": MODEL, **fields})

    async def receive(self) -> Event:
        """The next frame."""
        async with asyncio.timeout(20):
            message = await self.raw.receive()
        assert message.type is WSMsgType.TEXT, message
        event: Event = json.loads(message.data)
        _server_event.validate_python(event, strict=True)
        return event

    async def rest(self) -> list[Event]:
        """The frames up to a terminal event or an error."""
        events = [await self.receive()]
        while events[-1]["type"] not in (*TERMINAL, "error"):
            events.append(await self.receive())
        return events

    async def ask(self, **fields: Any) -> list[Event]:
        """The whole answer to a frame."""
        await self.create(**fields)
        return await self.rest()

    async def error(self, **fields: Any) -> Any:
        """The `error` of the error frame that answers a frame, with its status."""
        [event] = await self.ask(**fields)
        assert event["type"] == "error", event
        return {"status": event["status"], **event["error"]}

    async def closed(self) -> int | None:
        """The code with which the server closes the connection."""
        async with asyncio.timeout(20):
            message = await self.raw.receive()
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING), message
        return self.raw.close_code

    async def close(self) -> None:
        await self.raw.close()
