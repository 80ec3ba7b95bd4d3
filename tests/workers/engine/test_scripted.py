"""The scripted engine keeps the promises of its face."""

from __future__ import annotations

import asyncio

import pytest

from tests.workers.engine.helpers import read, run, start
from workers.engine.core import Engine, EngineFailed, PromptTooLong, Sampling
from workers.engine.scripted import Script, ScriptedEngine


async def test_it_plays_scripts_in_order() -> None:
    engine: Engine = ScriptedEngine(Script("the rest"))
    assert isinstance(engine, ScriptedEngine)
    engine.play(Script("Hel", ("lo", " wörld"), b"\xf0\x9f", b"\x98\x80", cached_tokens=3))
    result = await run(engine, "<|im_start|>hi", Sampling(top_logprobs=2))
    assert engine.text(result.tokens) == "Hello wörld😀"
    assert [len(chunk.tokens) for chunk in result.chunks] == [1, 2, 1, 1, 0]
    assert all(len(chunk.logprobs or ()) == len(chunk.tokens) for chunk in result.chunks)
    assert (result.finish, result.stop_token, result.cached_tokens) == ("stop", engine.tokenize("<|im_end|>")[0], 3)
    assert engine.text((await run(engine, "x")).tokens) == "the rest"
    assert [engine.text(request.tokens) for request in engine.requests] == ["<|im_start|>hi", "x"]


async def test_gates_hold_it() -> None:
    engine, gate = ScriptedEngine(), asyncio.Event()
    engine.play(Script("a", gate, "b"))
    generation = start(engine, "x")
    await anext(generation)
    later = asyncio.ensure_future(anext(generation))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not later.done()
    assert engine.stats.running == 1
    gate.set()
    assert engine.text((await later).tokens) == "b"
    await read(generation)
    assert engine.stats.running == 0


async def test_cancelling_is_seen_even_at_a_gate() -> None:
    engine = ScriptedEngine(Script("a", asyncio.Event()))
    generation = start(engine, "x")
    await anext(generation)
    generation.cancel()
    assert (await read(generation)).finish == "cancelled"
    forgotten = start(engine, "x")
    await anext(forgotten)
    del forgotten
    while engine.stats.running:
        await asyncio.sleep(0)
    assert engine.cancelled == ["r", "r"]


async def test_it_fails_and_refuses_as_told() -> None:
    engine = ScriptedEngine(context_length=10)
    engine.play(Script("half", EngineFailed("fire")))
    generation = start(engine, "x")
    assert engine.text((await anext(generation)).tokens) == "half"
    with pytest.raises(EngineFailed, match="fire"):
        await anext(generation)
    with pytest.raises(PromptTooLong):
        start(engine, "0123456789")
    assert (await run(engine, "x", max_tokens=0)).finish == "length"
    waiting = start(engine, "x")
    await engine.close()
    with pytest.raises(EngineFailed, match="closed"):
        await read(waiting)


async def test_max_tokens_cut_a_script() -> None:
    engine = ScriptedEngine(Script("a", ("b", "c", "d"), "e"))
    result = await run(engine, "x", max_tokens=3)
    assert (engine.text(result.tokens), result.finish) == ("abc", "length")
