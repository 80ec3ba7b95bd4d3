"""`/v1/conversations` itself: objects, items, pages, refusals."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from redis.asyncio import Redis

from shared.redis import keys
from tests.api.conversing import call, items_of, new, texts_of
from tests.conftest import StackFactory
from tests.stack import Stack

HELLO = {"role": "user", "content": "Hello"}


async def test_the_sdk_creates_reads_updates_and_deletes_a_conversation(stack: Stack) -> None:
    async with stack.client() as client:
        made = await client.conversations.create(metadata={"topic": "demo"}, items=[{**HELLO, "type": "message"}])  # type: ignore[list-item,typeddict-item]
        assert made.id.startswith("conv_")
        assert (made.object, made.metadata) == ("conversation", {"topic": "demo"})
        assert await client.conversations.retrieve(made.id) == made
        updated = await client.conversations.update(made.id, metadata={"topic": "other"})
        assert (updated.id, updated.created_at, updated.metadata) == (made.id, made.created_at, {"topic": "other"})
        assert await client.conversations.retrieve(made.id) == updated
        deleted = await client.conversations.delete(made.id)
        assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "conversation.deleted", True)
        with pytest.raises(openai.NotFoundError):
            await client.conversations.retrieve(made.id)


async def test_the_sdk_adds_lists_reads_and_deletes_items(stack: Stack) -> None:
    async with stack.client() as client:
        made = await client.conversations.create()
        assert made.metadata == {}
        messages: list[Any] = [{"role": "user", "content": str(number)} for number in range(7)]
        added = await client.conversations.items.create(made.id, items=messages)
        assert [item.content[0].text for item in added.data] == [str(number) for number in range(7)]  # type: ignore[union-attr]
        assert (added.first_id, added.last_id, added.has_more) == (added.data[0].id, added.data[-1].id, False)
        pages = client.conversations.items.list(made.id, limit=3, order="asc")
        assert [item.id async for item in pages] == [item.id for item in added.data]
        item = added.data[2]
        assert item.id is not None
        assert await client.conversations.items.retrieve(item.id, conversation_id=made.id) == item
        assert (await client.conversations.items.delete(item.id, conversation_id=made.id)).id == made.id
        with pytest.raises(openai.NotFoundError):
            await client.conversations.items.retrieve(item.id, conversation_id=made.id)
        assert await texts_of(stack, made.id) == ["0", "1", "3", "4", "5", "6"]


async def test_items_come_in_pages_newest_first(stack: Stack) -> None:
    conversation = await new(stack, *"abcde")
    _, newest = await call(stack, "GET", f"/{conversation}/items?limit=2")
    assert [item["content"][0]["text"] for item in newest["data"]] == ["e", "d"]
    assert (newest["has_more"], newest["first_id"]) == (True, newest["data"][0]["id"])
    _, rest = await call(stack, "GET", f"/{conversation}/items?limit=3&after={newest['last_id']}")
    assert [item["content"][0]["text"] for item in rest["data"]] == ["c", "b", "a"]
    assert rest["has_more"] is False
    for query, param in (
        ("limit=0", "limit"),
        ("order=up", "order"),
        ("after=x", "after"),
        ("include=x", "include[0]"),
    ):
        status, body = await call(stack, "GET", f"/{conversation}/items?{query}")
        assert (status, body["error"]["param"]) == (400, param)


async def test_an_empty_conversation_has_an_empty_page(stack: Stack) -> None:
    status, page = await call(stack, "GET", f"/{await new(stack)}/items")
    assert (status, page["data"], page["has_more"]) == (200, [], False)
    async with stack.http.post(f"{stack.url}/v1/conversations") as answer:
        assert answer.status == 200  # without a body at all


async def test_items_keep_their_ids_and_their_order_after_a_deletion(stack: Stack) -> None:
    conversation = await new(stack, "a", "b")
    first = (await items_of(stack, conversation))[0]
    await call(stack, "DELETE", f"/{conversation}/items/{first['id']}")
    items = [{"id": "msg_mine", **HELLO}, {"type": "reasoning", "id": "rs_mine", "summary": []}]
    await call(stack, "POST", f"/{conversation}/items", {"items": items})
    assert [item["id"] for item in await items_of(stack, conversation)][1:] == ["msg_mine", "rs_mine"]


async def test_logprobs_and_sealed_reasoning_are_shown_to_those_who_ask(stack: Stack) -> None:
    logprobs = [{"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": []}]
    text = {"type": "output_text", "text": "a", "annotations": [], "logprobs": logprobs}
    conversation = await new(stack)
    body = {"items": [{"role": "assistant", "content": [text]}]}
    _, added = await call(stack, "POST", f"/{conversation}/items", body)
    assert added["data"][0]["content"][0]["logprobs"] == []
    path = f"/{conversation}/items/{added['first_id']}"
    assert (await call(stack, "GET", path))[1]["content"][0]["logprobs"] == []
    for name in ("include", "include[]"):
        query = f"?{name}=message.output_text.logprobs"
        assert (await call(stack, "GET", path + query))[1]["content"][0]["logprobs"] == logprobs
        _, page = await call(stack, "GET", f"/{conversation}/items{query}")
        assert page["data"][0]["content"][0]["logprobs"] == logprobs


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"items": [HELLO] * 21}, "items", "array_above_max_length"),
        ({"items": "Hello"}, "items", "invalid_type"),
        ({"items": [HELLO, {"role": "nobody", "content": "x"}]}, "items[1].role", "invalid_value"),
        ({"items": [{"id": "msg_1", **HELLO}] * 2}, None, "duplicate_item"),
        ({"items": [{"type": "item_reference", "id": "msg_none"}]}, "items[0].id", "item_not_found"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata", None),
        ({"metadata": 3}, "metadata", "invalid_type"),
        ({"title": "x"}, "title", "unknown_parameter"),
        (3, None, "invalid_type"),
    ],
)
async def test_a_wrong_body_is_named(stack: Stack, body: Any, param: str | None, code: str | None) -> None:
    status, answer = await call(stack, "POST", "", body)
    assert status in (400, 404)
    assert param is None or answer["error"]["param"] == param
    assert code is None or answer["error"]["code"] == code


async def test_required_fields_and_unknown_ids_are_refused(stack: Stack) -> None:
    conversation = await new(stack)
    for path in ("", "/items"):
        status, body = await call(stack, "POST", f"/{conversation}{path}", {})
        assert (status, body["error"]["code"]) == (400, "missing_required_parameter")
    status, updated = await call(stack, "POST", f"/{conversation}", {"metadata": None})
    assert (status, updated["metadata"]) == (200, {})
    for method in ("GET", "DELETE"):
        status, body = await call(stack, method, f"/{conversation}/items/msg_none")
        assert (status, body["error"]["code"]) == (404, "item_not_found")
    assert await refusals(stack, "conv_none") == {(404, "conversation_not_found")}


async def test_somebody_elses_conversation_is_not_found(stack: Stack, redis: Redis) -> None:
    conversation = await new(stack, "secret")
    await redis.hset(keys.conversation(conversation), "owner", "somebody else")  # type: ignore[misc]
    assert await refusals(stack, conversation) == {(404, "conversation_not_found")}
    status, body = await stack.post(input="Hi", conversation=conversation)
    assert (status, body["error"]["code"]) == (404, "conversation_not_found")


async def test_an_item_is_in_a_conversation_once(stack: Stack) -> None:
    conversation = await new(stack)
    body = {"items": [{"id": "msg_1", **HELLO}]}
    assert (await call(stack, "POST", f"/{conversation}/items", body))[0] == 200
    assert (await call(stack, "POST", f"/{conversation}/items", body))[0] == 200  # as after a lost answer
    body["items"].insert(0, {"id": "msg_0", **HELLO})
    status, answer = await call(stack, "POST", f"/{conversation}/items", body)
    assert (status, answer["error"]["code"]) == (400, "duplicate_item")
    assert [item["id"] for item in await items_of(stack, conversation)] == ["msg_1"]


async def test_a_conversation_lives_as_long_as_it_is_used_and_leaves_nothing(
    make_stack: StackFactory, redis: Redis
) -> None:
    stack = await make_stack(conversation_ttl_seconds=1000)
    conversation = await new(stack, "a")
    names = [keys.conversation(conversation), keys.order(conversation), keys.items(conversation)]

    async def lives(*, used: bool) -> None:
        for name in names:
            assert (900 < await redis.ttl(name) <= 1000) == used, name
            await redis.expire(name, 50)

    await lives(used=True)
    await call(stack, "GET", f"/{conversation}")
    await lives(used=False)
    for path, body in (("", {"metadata": {}}), ("/items", {"items": [HELLO]})):
        await call(stack, "POST", f"/{conversation}{path}", body)
        await lives(used=True)
    await stack.post(input="Hi", conversation=conversation)
    await lives(used=True)
    await call(stack, "DELETE", f"/{conversation}")
    assert not await redis.exists(*names)


async def refusals(stack: Stack, conversation: str) -> set[tuple[int, str]]:
    """What every way to touch a conversation says."""
    requests = [
        ("GET", "", None),
        ("POST", "", {"metadata": {}}),
        ("DELETE", "", None),
        ("GET", "/items", None),
        ("POST", "/items", {"items": [HELLO]}),
        ("GET", "/items/msg_1", None),
        ("DELETE", "/items/msg_1", None),
    ]
    answers = [await call(stack, method, f"/{conversation}{path}", body) for method, path, body in requests]
    return {(status, body["error"]["code"]) for status, body in answers}
