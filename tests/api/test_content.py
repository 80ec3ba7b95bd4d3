"""`include`, sealed reasoning, item references, truncation, the two wire dialects."""

from __future__ import annotations

import json
from typing import Any

import openresponses_types.types as open_responses

from tests.conftest import StackFactory
from tests.stack import MODEL, Stack
from tests.wire import check_stream, parse_sse, reasoning_of, text_of
from workers.engine.scripted import Script, ScriptedEngine

KEY = {"encryption_key": "a secret of the deployment"}
SEALED = {"include": ["reasoning.encrypted_content"]}


def prompt(stack: Stack) -> str:
    return stack.engine.text(stack.engine.requests[-1].tokens)


async def test_logprobs_belong_to_the_tokens_of_the_answer(stack: Stack) -> None:
    stack.engine.play(Script("<think>", "\n", "hm", "</think>", "\n\n", "Hel", "lo", b"\xc3", b"\xa9"))
    events = await stack.stream(input="Hi", include=["message.output_text.logprobs"], top_logprobs=2)
    final = check_stream(events)
    [part] = final["output"][-1]["content"]
    assert [entry["token"] for entry in part["logprobs"]] == ["Hel", "lo", "\ufffd", "\ufffd"]
    assert b"".join(bytes(entry["bytes"]) for entry in part["logprobs"]).decode() == text_of(final) == "Helloé"
    assert {len(entry["top_logprobs"]) for entry in part["logprobs"]} == {2}
    told = [entry for event in events if event["type"].endswith("text.delta") for entry in event.get("logprobs", [])]
    assert told == part["logprobs"]
    assert final["top_logprobs"] == 2
    assert stack.engine.requests[-1].sampling.top_logprobs == 2


async def test_without_asking_there_are_no_logprobs(stack: Stack) -> None:
    final = check_stream(await stack.stream(input="Hi"))
    assert final["output"][0]["content"][0]["logprobs"] == []
    assert stack.engine.requests[-1].sampling.top_logprobs is None


async def test_sealed_reasoning_round_trips_without_a_store(make_stack: StackFactory) -> None:
    stack = await make_stack(**KEY)
    stack.engine.play(Script("<think>", "deep thoughts", "</think>", "Done."))
    events = await stack.stream(input="Q1", store=False, **SEALED)
    first = check_stream(events)
    [reasoning, message] = first["output"]
    assert "deep" not in reasoning["encrypted_content"]
    del reasoning["content"]
    history = [{"role": "user", "content": "Q1"}, reasoning, message, {"role": "user", "content": "Q2"}]
    stored: Any = (await stack.post(input=history, store=True, **SEALED))[1]
    _, items = await stack.get(f"/v1/responses/{stored['id']}/input_items?order=asc")
    assert items["data"][1]["content"] == [{"type": "reasoning_text", "text": "deep thoughts"}]


async def test_changed_sealed_reasoning_is_refused(make_stack: StackFactory) -> None:
    stack = await make_stack(**KEY)
    stack.engine.play(Script("<think>", "deep", "</think>", "Done."))
    _, first = await stack.post(input="Q1", **SEALED)
    sealed = first["output"][0]["encrypted_content"]
    for broken in (sealed[:-2], sealed[:20] + ("A" if sealed[20] != "A" else "B") + sealed[21:], "x", "é"):
        item = {"type": "reasoning", "summary": [], "encrypted_content": broken}
        status, body = await stack.post(input=[item, {"role": "user", "content": "Q"}])
        assert (status, body["error"]["code"]) == (400, "invalid_encrypted_content")
        assert body["error"]["param"] == "input[0].encrypted_content"


async def test_raw_reasoning_may_be_sent_back(stack: Stack) -> None:
    stack.engine.play(Script("<think>", "deep", "</think>", "Done."))
    _, first = await stack.post(input="Q1")
    status, _ = await stack.post(input=[*first["output"], {"role": "user", "content": "Q2"}])
    assert status == 200
    assert "Done." in prompt(stack)


async def test_an_item_reference_stands_for_the_item(stack: Stack) -> None:
    stack.engine.play(Script("The answer."))
    _, first = await stack.post(input="Q1")
    _, items = await stack.get(f"/v1/responses/{first['id']}/input_items")
    references = [
        {"type": "item_reference", "id": items["data"][0]["id"]},
        {"id": first["output"][0]["id"]},
        {"role": "user", "content": "Q2"},
    ]
    status, second = await stack.post(input=references)
    assert status == 200, second
    assert "user\nQ1<|im_end|>\n<|im_start|>assistant\nThe answer.<|im_end|>" in prompt(stack)
    await stack.http.delete(f"{stack.url}/v1/responses/{first['id']}")
    status, body = await stack.post(input=references)
    assert (status, body["error"]["code"]) == (404, "item_not_found")


async def test_truncation_drops_whole_oldest_items(make_stack: StackFactory) -> None:
    engine = ScriptedEngine(context_length=4000)
    stack = await make_stack(loader=lambda *_: engine)
    items = [{"role": "system", "content": "Rules."}]
    items += [{"role": "user" if n % 2 == 0 else "assistant", "content": f"item {n} " + "x" * 400} for n in range(15)]
    status, body = await stack.post(input=items, truncation="disabled")
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    status, response = await stack.post(input=items, truncation="auto")
    assert (status, response["truncation"]) == (200, "auto")
    kept = [n for n in range(15) if f"item {n} " in prompt(stack)]
    assert kept == list(range(15 - len(kept), 15))
    assert 0 < len(kept) < 15
    assert "Rules." in prompt(stack)
    assert response["usage"]["input_tokens"] + 400 + 1000 > 4000 > response["usage"]["input_tokens"] + 900
    status, body = await stack.post(input="x" * 5000, truncation="auto")
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")


async def test_open_responses_dialect(stack: Stack) -> None:
    stack.engine.play(Script("<think>", "deep", "</think>", "Done."))
    async with stack.http.post(
        stack.url + "/v1/responses",
        json={"model": MODEL, "input": "Hi", "stream": True},
        headers={"LlamaRelay-Dialect": "open-responses"},
    ) as answer:
        events = parse_sse(await answer.read())
    kinds = [event["type"] for event in events]
    assert "response.reasoning.delta" in kinds
    assert "response.reasoning.done" in kinds
    assert not any("reasoning_text." in kind for kind in kinds)
    open_responses.ResponseResource.model_validate_json(json.dumps(events[-1]["response"]))
    again = await stack.resume(events[0]["response"]["id"])
    assert reasoning_of(check_stream(again)) == "deep"
    async with stack.http.post(
        stack.url + "/v1/responses", json={"input": "Hi"}, headers={"LlamaRelay-Dialect": "klingon"}
    ) as answer:
        assert answer.status == 400


async def test_the_dialect_can_be_a_setting(make_stack: StackFactory) -> None:
    stack = await make_stack(wire_dialect="open-responses", send_done=False)
    stack.engine.play(Script("<think>", "deep", "</think>", "Done."))
    kinds = [event["type"] for event in await stack.stream(input="Hi")]
    assert "response.reasoning.delta" in kinds


async def test_every_effort_of_the_api_is_accepted(stack: Stack) -> None:
    for effort in ("none", "minimal", "low", "medium", "high", "xhigh"):
        status, response = await stack.post(input="Hi", reasoning={"effort": effort})
        assert (status, response["reasoning"]["effort"]) == (200, effort)
