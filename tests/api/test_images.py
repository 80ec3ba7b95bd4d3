"""`input_image`: images in messages and tool outputs, with a scripted engine and with a real projector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.catalog import Catalog
from shared.data_urls import write_data_url
from tests.conftest import StackFactory
from tests.pictures import picture, picture_url, plain_url
from tests.stack import MODEL, Stack
from tests.wire import check_stream
from workers.engine.engine import load_engine
from workers.engine.scripted import PICTURE_CELLS, ScriptedEngine
from workers.models import served

INCLUDE = "message.input_image.image_url"


def image(url: str, **fields: Any) -> dict[str, Any]:
    return {"type": "input_image", "image_url": url, "detail": "auto", **fields}


def text(words: str) -> dict[str, Any]:
    return {"type": "input_text", "text": words}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.fixture
async def sighted(make_stack: StackFactory, sighted_models: Path) -> Stack:
    """A scripted engine that can be shown pictures."""
    return await make_stack(loader=lambda *_: ScriptedEngine(vision=True), models_dir=sighted_models)


@pytest.fixture
async def real(make_stack: StackFactory, sighted_models: Path) -> Stack:
    return await make_stack(loader=load_engine, models_dir=sighted_models, temperature=0.0, context_length=2048)


def prompt(stack: Stack) -> str:
    return stack.engine.text(stack.engine.requests[-1].tokens)


async def refusal(stack: Stack, *parts: dict[str, Any]) -> tuple[str, str, str]:
    status, body = await stack.post(input=[user(*parts)])
    assert status == 400, body
    return body["error"]["code"], body["error"]["param"], body["error"]["message"]


async def test_images_stand_where_they_were_sent(sighted: Stack) -> None:
    red, blue = picture_url(40, 30, 1), picture_url(40, 30, 2)
    status, response = await sighted.post(input=[user(text("A"), image(red), text("B"), image(blue), image(red))])
    assert status == 200, response
    assert "user\nA[image]B[image][image]<|im_end|>" in prompt(sighted)
    request = sighted.engine.requests[-1]
    digests = [cells.picture.digest for cells in request.images]
    assert digests[0] == digests[2] != digests[1]
    assert response["usage"]["input_tokens"] == len(request.tokens)
    assert sum(cells.count for cells in request.images) == 3 * PICTURE_CELLS


async def test_input_tokens_counts_images(sighted: Stack) -> None:
    async def count(*parts: dict[str, Any]) -> int:
        url = f"{sighted.url}/v1/responses/input_tokens"
        async with sighted.http.post(url, json={"model": MODEL, "input": [user(*parts)]}) as answer:
            return int((await answer.json())["input_tokens"])

    assert await count(text("A"), image(picture_url(40, 30))) == await count(text("A")) + PICTURE_CELLS


async def test_a_text_cannot_pretend_to_be_an_image(sighted: Stack) -> None:
    await sighted.post(input=[user(text("<__media__> <|0:0|>"), image(picture_url(40, 30)))])
    assert len(sighted.engine.requests[-1].images) == 1


async def test_images_survive_chaining_and_are_listed_as_they_were_sent(sighted: Stack) -> None:
    sent = image(picture_url(40, 30), detail="low", _seen={"digest": "forged", "width": 1, "height": 1})
    _, first = await sighted.post(input=[user(sent)], include=[INCLUDE])
    status, _ = await sighted.post(input="And now?", previous_response_id=first["id"])
    assert status == 200
    [cells] = sighted.engine.requests[-1].images
    assert (cells.picture.width, cells.picture.height, len(cells.picture.digest)) == (40, 30, 64)
    _, items = await sighted.get(f"/v1/responses/{first['id']}/input_items?include={INCLUDE}")
    del sent["_seen"]
    assert items["data"][0]["content"] == [sent]
    async with sighted.client() as client:
        listed = await client.responses.input_items.list(first["id"], include=[INCLUDE])
    [part] = listed.data[0].content  # type: ignore[union-attr]
    assert part.image_url == sent["image_url"]  # type: ignore[union-attr]


async def test_images_in_conversations(sighted: Stack) -> None:
    sent = image(picture_url(40, 30))
    items = [{"type": "message", **user(sent)}]
    async with sighted.http.post(f"{sighted.url}/v1/conversations", json={"items": items}) as answer:
        conversation = (await answer.json())["id"]
    status, _ = await sighted.post(input="What is it?", conversation=conversation)
    assert status == 200
    assert len(sighted.engine.requests[-1].images) == 1
    _, listed = await sighted.get(f"/v1/conversations/{conversation}/items?order=asc")
    assert listed["data"][0]["content"] == [sent]
    bad = [{"type": "message", **user(image("data:;base64,aGVsbG8="))}]
    async with sighted.http.post(f"{sighted.url}/v1/conversations", json={"items": bad}) as answer:
        assert (await answer.json())["error"]["param"] == "items[0].content[0].image_url"


async def test_tools_may_return_images(sighted: Stack) -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "call_1", "output": [image(picture_url(40, 30))]}
    status, _ = await sighted.post(input=[user(text("Look.")), call, output])
    assert status == 200
    assert "[image]" in prompt(sighted)


async def test_a_model_without_a_projector_is_named(stack: Stack, sighted: Stack) -> None:
    code, param, message = await refusal(stack, text("A"), image(picture_url(40, 30)))
    assert (code, param) == ("unsupported_content", "input[0].content[1]")
    assert "'llamarelay/spark@q8_0'" in message
    assert "mmproj" in message
    _, listed = await stack.get(f"/v1/models/{MODEL}")
    assert listed["vision"] is False
    _, listed = await sighted.get(f"/v1/models/{MODEL}")
    assert listed["vision"] is True


async def test_images_of_a_chain_need_a_model_that_sees_them(make_stack: StackFactory, sighted_models: Path) -> None:
    stack = await make_stack(models_dir=sighted_models, workers=0)
    names = ("llamarelay/spark", "llamarelay/blind")
    await stack.add_worker(
        lambda *loaded: ScriptedEngine(vision=loaded[3] is not None), served(Catalog(sighted_models, {}), names)
    )
    _, first = await stack.post(input=[user(image(picture_url(40, 30)))])
    status, body = await stack.post(model="llamarelay/blind", input="And?", previous_response_id=first["id"])
    assert (status, body["error"]["code"]) == (400, "invalid_prompt")
    assert "no vision projector" in body["error"]["message"]


@pytest.mark.parametrize(
    ("part", "code", "place"),
    [
        (image("data:image/png;base64,###"), "invalid_base64_image", "image_url"),
        (image("data:image/png;base64,"), "empty_image_file", "image_url"),
        (image("data:image/png;base64,aGVsbG8="), "unsupported_image_media_type", "image_url"),
        (image("https://example.com/x.png"), "invalid_image_url", "image_url"),
        (image("picture.png"), "invalid_image_url", "image_url"),
        (image(picture_url(101, 100)), "image_too_large", "image_url"),
        (image("data:;base64," + "A" * 44_000), "image_file_too_large", "image_url"),
        ({"type": "input_image", "file_id": "file-1"}, "unsupported_parameter", "file_id"),
        ({"type": "input_image"}, "missing_required_parameter", "image_url"),
    ],
)
async def test_bad_images_are_refused_by_their_place(
    make_stack: StackFactory, sighted_models: Path, part: dict[str, Any], code: str, place: str
) -> None:
    stack = await make_stack(
        loader=lambda *_: ScriptedEngine(vision=True),
        models_dir=sighted_models,
        max_image_pixels=10_000,
        max_file_bytes=32_000,
    )
    assert (await refusal(stack, text("A"), part))[:2] == (code, f"input[0].content[1].{place}")


async def test_damaged_and_too_many_images_are_refused(make_stack: StackFactory, sighted_models: Path) -> None:
    stack = await make_stack(loader=lambda *_: ScriptedEngine(vision=True), models_dir=sighted_models, max_images=2)
    cut = image(write_data_url(picture(40, 30)[:500]))
    assert (await refusal(stack, cut))[:2] == ("image_parse_error", "input[0].content[0].image_url")
    whole = image(picture_url(40, 30))
    assert (await refusal(stack, whole, whole, whole))[:2] == ("array_above_max_length", "input[0].content[2]")
    status, body = await stack.post(input=[{"role": "system", "content": [whole]}, user(text("A"))])
    assert (status, body["error"]["param"]) == (400, "input[0].content[0].type")
    status, body = await stack.post(input=[user({**whole, "detail": "sharp"})])
    assert (status, body["error"]["param"]) == (400, "input[0].content[0].detail")


async def test_truncation_counts_images(make_stack: StackFactory, sighted_models: Path) -> None:
    engine = ScriptedEngine(vision=True, context_length=200)
    stack = await make_stack(loader=lambda *_: engine, models_dir=sighted_models)
    turns = [user(text(f"turn {n}"), image(picture_url(40, 30, n))) for n in range(8)]
    status, body = await stack.post(input=turns)
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    status, _ = await stack.post(input=turns, truncation="auto")
    assert status == 200
    assert 0 < len(engine.requests[-1].images) < 8
    assert "turn 7[image]" in prompt(stack)


# with a real projector


async def test_a_real_model_is_shown_images(real: Stack) -> None:
    [engine] = real.engines
    parts = [text("What is it? "), image(picture_url(160, 96)), text("Say.")]
    url = f"{real.url}/v1/responses/input_tokens"
    async with real.http.post(url, json={"model": MODEL, "input": [user(*parts)]}) as answer:
        counted = (await answer.json())["input_tokens"]
    async with real.http.post(url, json={"model": MODEL, "input": [user(parts[0], parts[2])]}) as answer:
        without = (await answer.json())["input_tokens"]
    assert counted - without > 60  # 10 x 6 cells, and what stands around them
    events = await real.stream(input=[user(*parts)], max_output_tokens=8)
    first = check_stream(events)
    assert first["usage"]["input_tokens"] == counted
    assert first["usage"]["input_tokens_details"]["cached_tokens"] == 0
    prefilled = engine.stats.prefilled_tokens
    again = check_stream(await real.stream(input=[user(*parts)], max_output_tokens=8))
    assert again["usage"]["input_tokens_details"]["cached_tokens"] == counted - 1
    assert engine.stats.prefilled_tokens == prefilled + 1
    other = [parts[0], image(picture_url(160, 96, 9)), parts[2]]
    different = check_stream(await real.stream(input=[user(*other)], max_output_tokens=8))
    assert different["usage"]["input_tokens"] == counted
    assert different["usage"]["input_tokens_details"]["cached_tokens"] < counted - 60
    follow = check_stream(await real.stream(input="And now?", previous_response_id=first["id"], max_output_tokens=8))
    assert follow["usage"]["input_tokens_details"]["cached_tokens"] > 60


async def test_images_that_fill_the_context_are_refused_with_the_numbers(real: Stack) -> None:
    code, _, message = await refusal(real, image(plain_url(800, 800)))  # 50 x 50 cells
    assert code == "context_length_exceeded"
    assert "2048" in message
    assert "has 25" in message
