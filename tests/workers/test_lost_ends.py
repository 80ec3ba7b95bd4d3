"""A worker is lost behind the last token of a response, before its end is written: whoever takes it over ends it as it
would have ended, to the letter and to the token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.api.test_remote_tools import TEMPLATES, spelled
from tests.conftest import StackFactory
from tests.stack import Stack
from tests.wire import Event, check_stream
from tests.workers.test_structured import PERSON, json_format
from tests.workers.test_structured import loader as real
from tests.workers.test_worker import freeze
from workers.engine.core import Engine, FinishReason, GenerationRequest
from workers.engine.engine import LlamaEngine
from workers.engine.scripted import CHATML, Piece, Script, ScriptedEngine
from workers.generate import Job

QWEN = (TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()
PROMPT = 21  # tokens of "Hi"
ASK = {"type": "function", "name": "ask", "parameters": {"type": "object", "properties": {}}}


@dataclass
class Kind:
    """How an answer ends: its tokens, which all come at once, and what is asked for."""

    pieces: tuple[Piece, ...]
    fields: dict[str, Any] = field(default_factory=dict)
    finish: FinishReason = "stop"
    context_length: int = 32768
    template: str = CHATML
    unasked: bool = True  # whether the second engine has nothing to do

    def play(self, request: GenerationRequest) -> Script:
        rest = self.pieces[request.generated :]
        return Script(*([rest] if rest else []), finish=self.finish, cached_tokens=7 + request.generated)

    def engine(self, known: ScriptedEngine | None = None) -> ScriptedEngine:
        engine = ScriptedEngine(self.play, context_length=self.context_length, chat_template=self.template)
        if known is not None:
            engine._pieces, engine._ids = list(known._pieces), dict(known._ids)
        return engine


CALL = spelled("ask")
LOGPROBS = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
KINDS = {
    "stop": Kind(("a", " b"), unasked=False),
    "limit": Kind(("a", " b", " c", " d"), {"max_output_tokens": 3}),
    "limit within a marker": Kind(("<think>", "a", "</thi", "nk>"), {"max_output_tokens": 3}),
    "limit within a character": Kind(("abc", " d ", b"\xf0\x9f", b"\x98\x80"), {"max_output_tokens": 3}),
    "limit with logprobs": Kind(("a", " b", " c"), {"max_output_tokens": 2, **LOGPROBS}),
    "context": Kind((*"abcd",), finish="length", context_length=PROMPT + 4),
    "context within a marker": Kind(("<think>", "a", "</thi"), finish="length", context_length=PROMPT + 3),
    "context within a character": Kind(("abc", b"\xf0\x9f"), finish="length", context_length=PROMPT + 2),
    "context and limit": Kind((*"abc",), {"max_output_tokens": 3}, context_length=PROMPT + 3),
    "call": Kind(CALL, {"tools": [ASK]}, template=QWEN, unasked=False),
    "call cut": Kind(CALL, {"tools": [ASK], "max_output_tokens": len(CALL) - 4}, template=QWEN),
    "call and limit": Kind(CALL, {"tools": [ASK], "max_output_tokens": len(CALL)}, template=QWEN),
    "text that is no call": Kind((*"So: ", *CALL[:20]), {"tools": [ASK], "max_output_tokens": 24}, template=QWEN),
}


@contextmanager
def unended() -> Iterator[asyncio.Event]:
    """Meanwhile no response ends; the event is set when one was about to, and everything said before is in the log."""
    about = asyncio.Event()

    async def hold(job: Job) -> None:
        await job._stream.flush()
        about.set()
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "_finish", hold)
        yield about


async def lost_at_its_end(stack: Stack, successor: Callable[[], Engine], **fields: Any) -> Any:
    """The response, ended by a second worker."""
    with unended() as about:
        stream = asyncio.create_task(stack.stream(**fields))
        async with asyncio.timeout(30):
            await about.wait()
        await freeze(stack)
    await stack.add_worker(lambda *_: successor())
    return check(await stream)


def check(events: list[Event]) -> Event:
    """The final response of a whole stream."""
    if "json_schema" not in str(events[0]["response"]["text"]):  # which Open Responses' types do not know
        return check_stream(events)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    final: Event = events[-1]["response"]
    return final


def told(response: Any) -> Any:
    """What is the same however often the same is asked."""
    items = [
        {name: value for name, value in item.items() if name not in ("id", "call_id", "approval_request_id")}
        for item in response["output"]
    ]
    return {name: response[name] for name in ("status", "incomplete_details", "error", "usage")} | {"output": items}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_it_ends_as_it_would_have(make_stack: StackFactory, kind: Kind) -> None:
    stack = await make_stack(loader=lambda *_: kind.engine(), poll_seconds=0.1)
    fields: dict[str, Any] = {"input": "Hi", **kind.fields}
    undisturbed = check_stream(await stack.stream(**fields))
    first = stack.engine
    final = await lost_at_its_end(stack, lambda: kind.engine(first), **fields)
    assert told(final) == told(undisturbed)
    assert len(first.requests) == 2
    second = stack.engines[-1]
    assert isinstance(second, ScriptedEngine)
    assert len(second.requests) == (0 if kind.unasked else 1)


@pytest.mark.parametrize("room", ["ample", "just enough", "one less"])
@pytest.mark.parametrize("what", ["schema", "call", "text"])
async def test_what_a_grammar_says_of_the_end_counts(make_stack: StackFactory, what: str, room: str) -> None:
    """With a real engine. Where the last token of an output is the last one that it may have, its grammar tells whether
    it is whole."""
    stack = await make_stack(loader=real(), poll_seconds=0.1)
    asked: dict[str, Any] = {
        "schema": {"input": "Ada is a cook.", "text": json_format(PERSON)},
        "call": {"input": "Go", "tools": [{**ASK, "strict": True}], "tool_choice": "required"},
        "text": {"input": "Count from 1 to 10"},
    }[what]
    fields: dict[str, Any] = {**asked, "temperature": 0, "reasoning": {"effort": "none"}}
    tokens = check(await stack.stream(**fields))["usage"]["output_tokens"]
    if room != "ample":
        fields["max_output_tokens"] = tokens - (room == "one less")
    undisturbed = check(await stack.stream(**fields))
    final = await lost_at_its_end(stack, lambda: real()(None, stack.settings, None), **fields)
    final["usage"]["input_tokens_details"] = undisturbed["usage"]["input_tokens_details"]  # its cache was another one
    assert told(final) == told(undisturbed)
    assert isinstance(stack.engines[-1], LlamaEngine)
