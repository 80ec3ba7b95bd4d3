"""The emitter cannot emit a bad order: property-tested over every sequence of calls a job can make."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.emitter import Emitter
from shared.event_writer import EmitterError
from shared.rebuild import rebuild
from shared.schema.items import CustomToolCall, FunctionCall, McpCall
from shared.schema.mcp import McpToolExecutionError
from shared.schema.response import InputTokensDetails, OutputTokensDetails, Response, Usage
from tests.wire import check_stream, reasoning_of, text_of

USAGE = Usage(
    input_tokens=1,
    input_tokens_details=InputTokensDetails(),
    output_tokens=1,
    output_tokens_details=OutputTokensDetails(),
    total_tokens=2,
)
pieces = st.lists(st.tuples(st.sampled_from(["text", "reasoning"]), st.text(max_size=5)), max_size=12)


def new_response() -> Response:
    return Response(id="resp_1", created_at=1, status="in_progress", model="m", temperature=1.0, top_p=1.0)


@given(said=pieces, end=st.sampled_from(["complete", "cut", "cancel", "fail"]), takes=st.booleans())
def test_any_pieces_and_any_end_make_a_valid_stream(said: list[tuple[str, str]], end: str, takes: bool) -> None:
    response = new_response()
    emitter = Emitter(response, 0)
    emitter.created()
    emitter.in_progress()
    events: list[bytes] = []
    for kind, text in said:
        getattr(emitter, kind)(text)
        if takes:
            events += emitter.take()
    if end == "fail":
        emitter.fail("server_error", "broken", USAGE)
    else:
        getattr(emitter, end)(USAGE)
    events += emitter.take()
    final = check_stream([json.loads(event) for event in events])
    assert text_of(final) == "".join(text for kind, text in said if kind == "text")
    assert reasoning_of(final) == "".join(text for kind, text in said if kind == "reasoning")


@given(said=pieces, end=st.sampled_from(["complete", "cut", "cancel"]), after=st.integers(-1, 40))
def test_the_rebuilt_stream_tells_the_same(said: list[tuple[str, str]], end: str, after: int) -> None:
    emitter = Emitter(new_response(), 0)
    for kind, text in said:
        getattr(emitter, kind)(text)
    getattr(emitter, end)(USAGE)
    final = msgspec.json.encode(emitter.response)
    whole = [json.loads(event) for event in rebuild(final, -1)]
    assert check_stream(whole) == json.loads(final)
    rest = [json.loads(event) for event in rebuild(final, after)]
    assert rest[:-1] == [event for event in whole[:-1] if event["sequence_number"] > after]
    assert rest[-1]["response"] == json.loads(final)
    assert rest[-1]["sequence_number"] > after


KINDS = ["text", "reasoning", "call", "custom", "mcp", "list", "approval", "arguments", "close", "answer"]
acts = st.lists(st.tuples(st.sampled_from(KINDS), st.text(max_size=3)), max_size=16)


def act(emitter: Emitter, kind: str, text: str) -> None:
    """One thing that a job does, where it can."""
    item = emitter._open.item if emitter._open else None
    match kind:
        case "text" | "reasoning":
            getattr(emitter, kind)(text)
        case "call":
            emitter.open_call("f", "call_1")
        case "custom":
            emitter.open_custom_call("c", "call_2")
        case "mcp":
            emitter.open_mcp_call("m", "label")
        case "list":
            emitter.open_mcp_list("label")
        case "approval":
            emitter.mcp_approval_request("m", "label", text)
        case "arguments" if isinstance(item, FunctionCall):
            emitter.arguments(text)
        case "arguments" if isinstance(item, CustomToolCall):
            emitter.custom_input(text)
        case "arguments" if isinstance(item, McpCall):
            emitter.mcp_arguments(text)
        case "close":
            emitter.close()
        case "answer" if emitter.waiting:
            waiting = emitter.waiting[len(text) % len(emitter.waiting)]
            failed = len(text) % 2 == 1
            if isinstance(waiting, McpCall):
                error = McpToolExecutionError(content=[]) if failed else None
                emitter.mcp_called(waiting.id, None if failed else text, error)
            else:
                emitter.mcp_listed(waiting.id, [], text if failed else None)


def ended(emitter: Emitter, end: str) -> None:
    if end == "fail":
        emitter.fail("server_error", "broken", USAGE)
    else:
        getattr(emitter, end)(USAGE)


@given(acts=acts, end=st.sampled_from(["complete", "cut", "cancel", "fail"]), lost=st.integers(0, 16))
def test_an_emitter_made_again_from_the_log_goes_on_alike(acts: list[tuple[str, str]], end: str, lost: int) -> None:
    """A worker is lost after some acts; the stream is that of one that was not."""

    def told(lost: int) -> list[dict[str, Any]]:
        emitter = Emitter(new_response(), 0)
        emitter.created()
        emitter.in_progress()
        log = emitter.take()
        for position, (kind, text) in enumerate(acts):
            if position == lost:
                emitter = Emitter.restore(new_response(), log)
            act(emitter, kind, text)
            log += emitter.take()
        ended(emitter, end)
        return [json.loads(event) for event in (*log, *emitter.take())]

    events = told(lost)
    check_stream(events)
    assert without_times(events) == without_times(told(99))


@given(acts=acts, end=st.sampled_from(["complete", "cut", "cancel", "fail"]))
def test_every_kind_of_item_is_told_again(acts: list[tuple[str, str]], end: str) -> None:
    emitter = Emitter(new_response(), 0)
    for kind, text in acts:
        act(emitter, kind, text)
    ended(emitter, end)
    final = msgspec.json.encode(emitter.response)
    assert check_stream([json.loads(event) for event in rebuild(final, -1)]) == json.loads(final)


def without_times(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events[-1]["response"]["completed_at"] = None
    return events


def test_nothing_follows_the_terminal_event() -> None:
    emitter = Emitter(new_response(), 1)
    emitter.complete(USAGE)
    with pytest.raises(EmitterError):
        emitter.text("more")


def test_a_list_that_fails_without_a_word_has_failed() -> None:
    emitter = Emitter(new_response(), 0)
    emitter.mcp_listed(emitter.open_mcp_list("label"), [], "")
    kinds = [json.loads(event)["type"] for event in emitter.take()]
    assert "response.mcp_list_tools.failed" in kinds
    assert "response.mcp_list_tools.completed" not in kinds
