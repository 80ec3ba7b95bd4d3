"""A large body holds up nobody else: it is read beside the event loop, and what it may hold is bounded."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import creation, limits
from api.apart import LARGE_BYTES
from api.body import decoded
from api.errors import ApiError
from api.limits import check_nesting
from shared.settings import Settings
from tests.stack import Stack

LARGE = [{"role": "user", "content": "x" * LARGE_BYTES}]


async def test_others_are_served_while_a_large_body_is_looked_at(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go_on = threading.Event(), threading.Event()
    really = limits.check_nesting

    def held_up(values: list[msgspec.Raw], where: str, settings: Settings) -> None:
        if sum(map(len, values)) >= LARGE_BYTES:
            reached.set()
            assert go_on.wait(20), "the event loop waits for the large body"
        really(values, where, settings)

    monkeypatch.setattr(limits, "check_nesting", held_up)
    monkeypatch.setattr(creation, "check_nesting", held_up)
    large = asyncio.create_task(stack.post(input=LARGE))
    conversation = asyncio.create_task(_conversation(stack, LARGE))
    await asyncio.to_thread(reached.wait, 20)
    assert (await stack.post(input=[{"role": "user", "content": "Hi"}]))[0] == 200
    go_on.set()
    assert (await large)[0] == 400  # more than the model's context
    assert await conversation == 200


async def _conversation(stack: Stack, items: list[Any]) -> int:
    async with stack.http.post(stack.url + "/v1/conversations", json={"items": items}) as answer:
        return answer.status


@pytest.mark.parametrize("size", [LARGE_BYTES - 1, LARGE_BYTES])
async def test_only_a_large_body_is_decoded_in_a_thread(size: int) -> None:
    thread = await decoded(b"x" * size, lambda body: threading.current_thread())
    assert (thread is threading.main_thread()) == (size < LARGE_BYTES)


async def test_parts_are_limited_over_all_items(stack: Stack) -> None:
    parts = [{"type": "input_text", "text": "x"}]
    item = {"role": "user", "content": parts * (limits.MAX_PARTS // 2)}
    status, body = await stack.post(input=[item, item, {"role": "user", "content": parts}])
    assert (status, body["error"]["param"], body["error"]["code"]) == (400, "input[2]", "array_above_max_length")
    assert str(limits.MAX_PARTS) in body["error"]["message"]
    _, body = await stack.post(input=[item, item])
    assert body["error"]["code"] != "array_above_max_length"  # but more than the model reads


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


TEXTS = st.text(alphabet='[]{}"\\a', max_size=6)
VALUES = st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@given(VALUES, st.integers(1, 5), st.sampled_from([1, 2, 3, 7, 1 << 16]))
def test_levels_are_counted_as_they_are(value: Any, levels: int, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "_PIECE", piece)
        raw = msgspec.Raw(json.dumps(value).encode())
        try:
            check_nesting([raw], "input", Settings(max_nesting=levels))
        except ApiError:
            assert depth(value) > levels
        else:
            assert depth(value) <= levels
