"""What clients do under fire. Each scenario is one client's visit, checked to its end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import recipes
from tests.chaos.checks import (
    GIVEN_UP,
    TRIES,
    Answer,
    answer_of,
    check_form,
    check_part,
    check_replay,
    check_stored,
    check_whole,
)
from tests.chaos.client import Client, GivenUp, Gone, Orphaned
from tests.chaos.kinds import ABSENCES, LOSSES
from tests.chaos.story import TERMINAL, Event, Story, Violation
from tests.chaos.tools import Tools

POLL_SECONDS = 0.3
ENDED = ("completed", "incomplete", "cancelled", "failed")


@dataclass
class Tally:
    """What all clients have seen."""

    visits: Counter[str] = field(default_factory=Counter)
    responses: int = 0  # ended, each exactly once
    streams: int = 0
    events: int = 0
    replayed: int = 0
    resumed: int = 0
    orphaned: int = 0  # unstored ones whose web was lost
    given_up: int = 0  # their workers were lost three times
    open: set[Story] = field(default_factory=set)  # being streamed now
    told: list[Story] = field(default_factory=list)  # ended, without their events' bytes


class Visits:
    """The scenarios. `undisturbed` holds the answers of a run without faults, and is filled by `learn`."""

    def __init__(
        self,
        client: Client,
        rng: random.Random,
        tally: Tally,
        faults_since: Callable[[float, Collection[str]], int],
        tools: Tools,
    ) -> None:
        self._client = client
        self._rng = rng
        self._tally = tally
        self._faults_since = faults_since
        self._tools = tools
        self._recipes = {**recipes.ALL, **recipes.remote(tools.url)}
        self.undisturbed: dict[str, Answer] = {}

    @property
    def open(self) -> set[Story]:
        """What is being streamed now."""
        return self._tally.open

    async def learn(self) -> None:
        """Asks everything once, before the first fault."""
        asked = [self._client.call("POST", "/v1/responses", Story(name), body) for name, body in self._recipes.items()]
        found = await asyncio.gather(*asked)
        self.undisturbed = {name: answer_of(response) for name, response in zip(self._recipes, found, strict=True)}
        previous = None
        for number in range(len(recipes.TURNS)):
            body = recipes.turn(number, previous_response_id=previous)
            response = await self._client.call("POST", "/v1/responses", Story("turn"), body)
            self.undisturbed[f"turn-{number}"] = answer_of(response)
            previous = response["id"]

    async def any(self) -> None:
        """One visit of a kind drawn by chance. Raises Violation."""
        kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (30, self.stream),
            (6, self.wait),
            (10, self.resume_in_background),
            (6, self.poll_in_background),
            (6, self.unstored),
            (6, self.cancel),
            (5, self.delete),
            (5, self.drop),
            (5, self.slow),
            (4, self.chain),
            (4, self.converse),
        ]
        [(_, visit)] = self._rng.choices(kinds, [weight for weight, _ in kinds])
        self._tally.visits[visit.__name__] += 1
        await visit()

    async def stream(self) -> None:
        name, body = self._recipe()
        story = await self._stream(name, body)
        await self._check(story, name)

    async def slow(self) -> None:
        name, body = self._recipe()
        story = await self._stream(name, body, slow=self._rng.uniform(0.03, 0.1))
        await self._check(story, name)

    async def wait(self) -> None:
        """Without a stream; a lost answer is fetched by the same request under the same key."""
        name, body = self._recipe()
        story = Story(name)
        try:
            response = await self._client.call("POST", "/v1/responses", story, body, key=True)
        except GivenUp:
            if self._faults_since(story.began, LOSSES) < TRIES:
                raise Violation("given up, although not so many workers were lost", story) from None
            self._tally.given_up += 1
            return
        await self._check_told(story, response, name)

    async def resume_in_background(self) -> None:
        """A background stream that its client leaves and takes up again, several times."""
        name, body = self._recipe()
        story = Story(f"background {name}")
        first: dict[str, Any] | None = {**body, "background": True}
        with Streamed(self._tally, story):
            for _ in range(self._rng.randint(1, 4)):
                most = len(story.raw) + self._rng.randint(1, 60)
                await self._client.stream(story, first, stop=lambda most=most: len(story.raw) >= most)  # type: ignore[misc]
                first = None if story.response_id else first
            await self._client.stream(story, first)
        await self._check(story, name)

    async def poll_in_background(self) -> None:
        name, body = self._recipe()
        story = Story(f"polled {name}")
        created = await self._client.call("POST", "/v1/responses", story, {**body, "background": True}, key=True)
        await self._check_told(story, await self._ended(created["id"], story), name)

    async def unstored(self) -> None:
        name, body = self._recipe()
        try:
            story = await self._stream(name, {**body, "store": False})
        except Orphaned:
            self._tally.orphaned += 1
            return
        unheard = self._faults_since(story.began, ABSENCES) > 0
        self._tally.orphaned += story.final is not None and story.final["status"] == "cancelled"
        self._judge(story, name, part=unheard)
        self._close(story)

    async def cancel(self) -> None:
        """Another web is asked to cancel what is being streamed."""
        name, body = self._recipe()
        story = Story(f"cancelled {name}")
        with Streamed(self._tally, story):
            streaming = asyncio.create_task(self._client.stream(story, body))
            try:
                await self._some_events(story, streaming)
                if story.response_id:
                    await self._client.call("POST", f"/v1/responses/{story.response_id}/cancel", story)
                await streaming
            finally:
                streaming.cancel()
        await self._check(story, name, part=True)

    async def delete(self) -> None:
        """A response is deleted while it runs: its stream ends, and it is gone."""
        name, body = self._recipe()
        story = Story(f"deleted {name}")
        with Streamed(self._tally, story):
            streaming = asyncio.create_task(self._client.stream(story, body))
            try:
                await self._some_events(story, streaming)
                if story.response_id:
                    await self._delete(story)
                await streaming
                check_part(story, self.undisturbed[name])
                self._close(story)
            except Gone:  # the stream was cut and its response deleted: nothing to resume
                self._close(story, ended=False)
            finally:
                streaming.cancel()
        try:
            await self._client.call("GET", f"/v1/responses/{story.response_id}", story)
        except Gone:
            return
        raise Violation("a deleted response is still there", story)

    async def drop(self) -> None:
        """A client that leaves: its response is cancelled, unless it had ended."""
        name, body = self._recipe()
        story = Story(f"dropped {name}")
        most = self._rng.randint(3, 40)
        with Streamed(self._tally, story):
            await self._client.stream(story, body, stop=lambda: len(story.raw) >= most)
        stored = await self._ended(str(story.response_id), story)
        with Streamed(self._tally, story):
            await self._client.stream(story)
        check_stored(story, stored)
        await self._check(story, name, part=True)

    async def chain(self) -> None:
        previous = None
        for number in range(len(recipes.TURNS)):
            body = recipes.turn(number, previous_response_id=previous)
            story = await self._stream(f"turn-{number}", body)
            await self._check(story, f"turn-{number}")
            if story.final is None or story.final["status"] != "completed":
                return  # given up: nothing to continue
            previous = story.response_id

    async def converse(self) -> None:
        story = Story("conversation")
        conversation = (await self._client.call("POST", "/v1/conversations", story, {}))["id"]
        texts: list[str] = []
        for number, question in enumerate(recipes.TURNS):
            turn = await self._stream(f"turn-{number}", recipes.turn(number, conversation=conversation))
            await self._check(turn, f"turn-{number}")
            if turn.final is None or turn.final["status"] != "completed":
                return
            texts += [question, *(text for _, text in self.undisturbed[f"turn-{number}"]["output"])]
        page = await self._client.call("GET", f"/v1/conversations/{conversation}/items?order=asc&limit=100", story)
        found = ["".join(part["text"] for part in item["content"]) for item in page["data"]]
        if found != texts:
            raise Violation(f"the conversation holds {found}, expected {texts}", story)

    def _recipe(self) -> tuple[str, dict[str, Any]]:
        name = self._rng.choice(list(self._recipes))
        return name, recipes.afresh(self._recipes[name])

    async def _stream(self, name: str, body: dict[str, Any], *, slow: float = 0.0) -> Story:
        story = Story(name)
        with Streamed(self._tally, story):
            await self._client.stream(story, body, slow=slow)
        return story

    async def _some_events(self, story: Story, streaming: asyncio.Task[None]) -> None:
        most = self._rng.randint(1, 60)
        while len(story.raw) < most and not streaming.done():
            await asyncio.sleep(0.02)

    async def _delete(self, story: Story) -> None:
        try:
            await self._client.call("DELETE", f"/v1/responses/{story.response_id}", story)
        except Gone:
            story.note("deleted by an attempt whose answer was lost")

    async def _ended(self, response_id: str, story: Story) -> Event:
        """The stored response when it has ended."""
        while True:
            response = await self._client.call("GET", f"/v1/responses/{response_id}", story)
            if response["status"] in ENDED:
                return response
            await asyncio.sleep(POLL_SECONDS)

    async def _check_told(self, story: Story, response: Event, name: str) -> None:
        """A response that came without a stream: its stream, read now, says the same."""
        story.response_id = response["id"]
        await self._client.stream(story)
        check_stored(story, response)
        await self._check(story, name)

    async def _check(self, story: Story, name: str, *, part: bool = False) -> None:
        """Everything that must hold of a stored response whose stream has ended. Raises Violation."""
        self._judge(story, name, part=part)
        path = f"/v1/responses/{story.response_id}"
        try:
            check_stored(story, await self._client.call("GET", path, story))
            again = Story(story.name)
            again.response_id = story.response_id
            await self._client.stream(again)
        except Gone:
            raise Violation("a stored response is gone", story) from None
        check_replay(story, again)
        self._tally.replayed += 1
        self._close(story)

    def _judge(self, story: Story, name: str, *, part: bool = False) -> None:
        assert story.final is not None
        error = story.final["error"]
        if error and error["message"].startswith(GIVEN_UP) and self._faults_since(story.began, LOSSES) >= TRIES:
            check_form(story)
            self._tally.given_up += 1
        elif part:
            check_part(story, self.undisturbed[name])
        else:
            check_whole(story, self.undisturbed[name])

    def _close(self, story: Story, *, ended: bool = True) -> None:
        kinds = [event["type"] for event in story.events()]
        if ended and [kind for kind in kinds if kind in TERMINAL] != kinds[-1:]:
            raise Violation("not exactly one terminal event at the end", story)
        self._tools.take(story, self._faults_since)
        self._tally.responses += 1
        self._tally.streams += bool(story.raw)
        self._tally.events += len(story.raw)
        story.forget()
        self._tally.told.append(story)


class Streamed:
    """While a client streams a story, faults may hit it."""

    def __init__(self, tally: Tally, story: Story) -> None:
        self._tally = tally
        self._story = story

    def __enter__(self) -> None:
        self._tally.open.add(self._story)

    def __exit__(self, *_: object) -> None:
        self._tally.open.discard(self._story)
