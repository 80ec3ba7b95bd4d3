"""A client as a careful user writes one: it resumes a stream at another web, and repeats a request under its key."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp

from tests.chaos.checks import GIVEN_UP
from tests.chaos.cluster import Member
from tests.chaos.story import Event, Story, Violation

AGAIN = (409, 429, 503)  # what a client may meet when others work on the same, or while something is away
LONGEST_WAIT = 2.0
LOST = (aiohttp.ClientError, ConnectionError, TimeoutError)


class Orphaned(Exception):
    """The web of an unstored response was lost, and the response with it: nothing can be resumed."""


class GivenUp(Exception):
    """The response failed because its workers were lost too often."""


class Gone(Exception):
    """There is no such response."""


class Client:
    """Talks to any web that answers; each attempt at another one, by chance."""

    def __init__(self, http: aiohttp.ClientSession, webs: list[Member], rng: random.Random) -> None:
        self._http = http
        self._webs = webs
        self._rng = rng
        self.resumed = 0

    async def stream(
        self,
        story: Story,
        body: Mapping[str, Any] | None = None,
        *,
        stop: Callable[[], bool] = lambda: False,
        slow: float = 0.0,
    ) -> None:
        """Follows a response to its end, or until `stop` says so; with `body` it is created first.

        `slow`: seconds the client takes over each event. Raises Orphaned, Gone, Violation.
        """
        headers = {"Idempotency-Key": secrets.token_hex(16)} if body and body.get("store", True) else {}
        while not story.ended:
            web = self._rng.choice(self._webs)
            try:
                async with self._open(story, web, body, headers) as answer:
                    if answer.status != 200:
                        await self._refused(answer, story)
                        continue
                    story.web = web.name
                    async for data in _events(answer.content):
                        story.take(data)
                        if slow:
                            await asyncio.sleep(slow)
                        if stop():
                            story.note(f"left {web.name} after {len(story.raw)} events")
                            return
            except LOST as error:
                story.note(f"{web.name}: {type(error).__name__}")
            finally:
                story.web = None
            if story.ended:
                return
            if story.raw:
                story.cuts += 1
                story.note(f"cut by {web.name} after {len(story.raw)} events")
                if body and not body.get("store", True):
                    raise Orphaned
                self.resumed += 1
            await asyncio.sleep(0.1)

    def _open(
        self, story: Story, web: Member, body: Mapping[str, Any] | None, headers: dict[str, str]
    ) -> Any:  # aiohttp's request context manager
        if story.response_id is None:
            assert body is not None
            story.posts = 1 if headers else story.posts + 1
            return self._http.post(f"{web.url}/v1/responses", json={**body, "stream": True}, headers=headers)
        query = {"stream": "true"} | ({"starting_after": str(len(story.raw) - 1)} if story.raw else {})
        return self._http.get(f"{web.url}/v1/responses/{story.response_id}", params=query)

    async def _refused(self, answer: aiohttp.ClientResponse, story: Story) -> None:
        text = await answer.text()
        story.note(f"{answer.status}: {text[:200]}")
        if answer.status == 404 and story.response_id:
            raise Gone
        if answer.status == 500 and GIVEN_UP in text:
            raise GivenUp
        if answer.status not in AGAIN:
            raise Violation(f"answered with {answer.status}: {text[:500]}", story)
        await asyncio.sleep(min(float(answer.headers.get("Retry-After", "0.3")), LONGEST_WAIT))

    async def call(
        self, method: str, path: str, story: Story, body: Mapping[str, Any] | None = None, *, key: bool = False
    ) -> Event:
        """A request without a stream, repeated until it is answered. Raises Gone, GivenUp, Violation."""
        headers = {"Idempotency-Key": secrets.token_hex(16)} if key else {}
        while True:
            web = self._rng.choice(self._webs)
            try:
                async with self._http.request(method, web.url + path, json=body, headers=headers) as answer:
                    if answer.status == 200:
                        found: Event = json.loads(await answer.read())
                        return found
                    if answer.status == 404:
                        raise Gone
                    await self._refused(answer, story)
            except LOST as error:
                story.note(f"{method} {path} at {web.name}: {type(error).__name__}")
                await asyncio.sleep(0.1)


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The `data` of each frame, without `[DONE]`."""
    async for line in content:
        if line.startswith(b"data: ") and line.endswith(b"\n") and line != b"data: [DONE]\n":
            yield line[6:-1]
