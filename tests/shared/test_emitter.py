"""The emitter cannot emit a bad order: property-tested over every sequence of calls a job can make."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.emitter import Emitter, EmitterError
from shared.rebuild import rebuild
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


def test_nothing_follows_the_terminal_event() -> None:
    emitter = Emitter(new_response(), 1)
    emitter.complete(USAGE)
    with pytest.raises(EmitterError):
        emitter.text("more")
