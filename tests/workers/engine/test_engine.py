"""The engine on the demo model: exact output, sharing, eviction, preemption, cancelling, chunked prefill, failing."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import llama_cpp.llama_cpp as llama
import numpy as np
import pytest

from shared.settings import Settings
from tests.waiting import until
from tests.workers.engine.conftest import MODEL, EngineFactory
from tests.workers.engine.helpers import Allowed, Endless, chat, read, run, start
from tests.workers.engine.reference import Reference
from workers.engine import runner
from workers.engine.context import Context, DecodeFailed
from workers.engine.core import EngineFailed, ModelLoadError, PromptTooLong, Sampling
from workers.engine.engine import LlamaEngine, load_engine
from workers.engine.model import Model
from workers.engine.scheduler import SMALLEST_CHUNK

PROMPTS = [chat(f"Count from {i} to {i + 3 + i % 5}. " + "Please. " * (i * 3)) for i in range(16)]


def endless(engine: LlamaEngine) -> Endless:
    return Endless(engine.model.end_tokens)


# output


async def test_greedy_output_is_that_of_a_bare_loop(engine: LlamaEngine, reference: Reference) -> None:
    result = await run(engine, chat("Provide a prime number less than 50"), max_tokens=200)
    ties = reference.check_greedy(engine.tokenize(chat("Provide a prime number less than 50")), result.tokens)
    assert result.tokens
    assert ties <= len(result.tokens) // 10


async def test_sixteen_at_once_each_get_the_output_of_a_bare_loop(
    make_engine: EngineFactory, reference: Reference
) -> None:
    engine = await make_engine()
    results = await asyncio.gather(*(run(engine, prompt, max_tokens=60) for prompt in PROMPTS))
    assert engine.stats.steps < sum(len(result.tokens) for result in results) / 4  # they were decoded together
    for prompt, result in zip(PROMPTS, results, strict=True):
        assert reference.check_greedy(engine.tokenize(prompt), result.tokens) <= len(result.tokens) // 10


async def test_a_seed_reproduces(make_engine: EngineFactory) -> None:
    outputs = []
    for seed in (7, 7, 8):
        engine = await make_engine()  # a prompt found in the cache is rounded differently
        sampling = Sampling(temperature=4, seed=seed)  # so flat that any model varies
        outputs.append((await run(engine, chat("Tell a story"), sampling, max_tokens=40)).tokens)
    assert outputs[0] == outputs[1] != outputs[2]


async def test_an_end_token_ends_and_is_not_output(engine: LlamaEngine) -> None:
    result = await run(engine, chat("Hello"), max_tokens=500)
    assert result.finish == "stop"
    assert result.stop_token in engine.model.end_tokens
    assert not engine.model.end_tokens & set(result.tokens)


async def test_a_requests_own_stop_token_ends(engine: LlamaEngine) -> None:
    whole = (await run(engine, chat("Hello"), max_tokens=500)).tokens
    stop = whole[len(whole) // 2]
    result = await run(engine, chat("Hello"), stop_tokens=frozenset({stop}))
    assert (result.finish, result.stop_token) == ("stop", stop)
    assert result.tokens == whole[: whole.index(stop)]


async def test_max_tokens_ends_with_length(engine: LlamaEngine) -> None:
    result = await run(engine, chat("Hello"), max_tokens=3)
    assert (len(result.tokens), result.finish, result.stop_token) == (3, "length", None)


async def test_a_full_context_ends_with_length(make_engine: EngineFactory, reference: Reference) -> None:
    engine = await make_engine(context_length=256)
    prompt = engine.tokenize(chat("Hello"))
    result = await run(engine, prompt, constraint=endless(engine))
    assert result.finish == "length"
    assert len(prompt) + len(result.tokens) == engine.model.context_length == 256
    reference.check_greedy(prompt, result.tokens, engine.model.end_tokens)


async def test_no_tokens_at_all_only_prefill(make_engine: EngineFactory) -> None:
    engine = await make_engine()
    prompt = engine.tokenize(chat("Hello"))
    warmed = await run(engine, prompt, max_tokens=0)
    assert (warmed.tokens, warmed.finish) == ([], "length")
    assert (await run(engine, prompt, max_tokens=1)).cached_tokens == len(prompt) - 1


async def test_logprobs_are_those_of_the_models_own_distribution(engine: LlamaEngine, reference: Reference) -> None:
    prompt = engine.tokenize(chat("Hello"))
    result = await run(engine, prompt, Sampling(temperature=2, top_k=5, seed=1, top_logprobs=4), max_tokens=8)
    logprobs = [one for chunk in result.chunks for one in chunk.logprobs or ()]
    assert [one.token for one in logprobs] == result.tokens
    expected = reference.first_logits(prompt)
    norm = np.log(np.exp(expected.astype(np.float64) - expected.max()).sum()) + expected.max()
    assert logprobs[0].logprob == pytest.approx(expected[result.tokens[0]] - norm, abs=0.05)
    for one in logprobs:
        values = [value for _, value in one.top]
        assert len(values) == 4
        assert values == sorted(values, reverse=True)
        assert one.logprob <= values[0] <= 0


# refusals


async def test_a_prompt_that_can_never_fit_is_refused_with_both_numbers(make_engine: EngineFactory) -> None:
    engine = await make_engine(context_length=256)
    with pytest.raises(PromptTooLong) as refused:
        start(engine, [1] * 256)
    assert (refused.value.prompt_tokens, refused.value.context_length) == (256, 256)
    assert len((await run(engine, [1] * 255)).tokens) <= 1


@pytest.mark.parametrize("tokens", [[], [-1], [1 << 20]])
async def test_tokens_that_are_none_are_refused(engine: LlamaEngine, tokens: list[int]) -> None:
    with pytest.raises(ValueError):
        start(engine, tokens)


def test_a_broken_file_says_so_and_names_itself(tmp_path: Path) -> None:
    data = MODEL.read_bytes()
    for name, content in {"garbage.gguf": b"GGUF garbage", "cut.gguf": data[: len(data) // 2]}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ModelLoadError, match=name) as refused:
            load_engine(path, Settings())
        assert refused.value.path == path
        assert refused.value.reason
    with pytest.raises(ModelLoadError, match="no such file"):
        load_engine(tmp_path / "missing.gguf", Settings())


async def test_loading_tells_its_progress() -> None:
    fractions: list[float] = []
    engine = await asyncio.to_thread(load_engine, MODEL, Settings(), fractions.append)
    await engine.close()
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


# text


@pytest.mark.parametrize("text", ["plain text", "Grüße, 漢字 und 🎉👩‍👩‍👧", "a\n\n\tb  c", ""])
def test_pieces_give_back_the_bytes_of_the_text(engine: LlamaEngine, text: str) -> None:
    assert b"".join(map(engine.piece, engine.tokenize(text))) == text.encode()


def test_control_tokens_are_parsed_and_have_their_text(engine: LlamaEngine) -> None:
    assert len(engine.tokenize("<|im_end|>")) == 1
    assert engine.piece(engine.tokenize("<|im_end|>")[0]) == b"<|im_end|>"
    assert engine.tokenize("<|im_end|>")[0] in engine.model.end_tokens
    assert len(engine.tokenize("<|im_end|>", special=False)) > 1


async def test_a_long_text_holds_up_nobody_who_tokenizes_and_is_waited_for_at_the_end(
    make_engine: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine()
    begun, go = threading.Event(), threading.Event()
    tokenize = Model._tokenize

    def slow(self: Model, text: str, special: bool) -> list[int]:
        if len(text) > 100:
            begun.set()
            assert go.wait(30)
        return tokenize(self, text, special)

    monkeypatch.setattr(Model, "_tokenize", slow)
    long = asyncio.create_task(asyncio.to_thread(engine.tokenize, "x" * 200))
    assert await asyncio.to_thread(begun.wait, 30)
    assert engine.tokenize("Hello")
    closed = asyncio.create_task(engine.close())
    await until(lambda: engine._weights._freed)
    assert not closed.done()  # its vocabulary is still read
    with pytest.raises(EngineFailed):
        engine.tokenize("Hello")
    go.set()
    assert len(await long) > 0
    await closed


# sharing


async def test_sixteen_requests_with_the_same_instructions_compute_them_once(make_engine: EngineFactory) -> None:
    engine = await make_engine(batch_tokens=512)
    system = "Be brief. " * 300
    prompts = [engine.tokenize(chat(f"Say {i}", system)) for i in range(16)]
    shared = len(engine.tokenize(chat("Say", system))) - 8
    assert shared > 900
    results = await asyncio.gather(*(run(engine, prompt, max_tokens=4) for prompt in prompts))
    assert sorted(result.cached_tokens > shared for result in results) == [False] + [True] * 15
    computed = engine.stats.prefilled_tokens
    assert computed == sum(map(len, prompts)) - sum(result.cached_tokens for result in results)
    assert computed < shared + 16 * 20


async def test_equal_prompts_at_once_are_computed_once(make_engine: EngineFactory, reference: Reference) -> None:
    engine = await make_engine()
    prompt = engine.tokenize(chat("Count from 1 to 9. " + "Please. " * 40))
    results = await asyncio.gather(*(run(engine, prompt, max_tokens=20) for _ in range(8)))
    assert engine.stats.prefilled_tokens == len(prompt) + 7
    for result in results:
        reference.check_greedy(prompt, result.tokens)


async def test_the_next_turn_finds_the_turns_before(make_engine: EngineFactory, reference: Reference) -> None:
    engine = await make_engine()
    prompt, known = engine.tokenize(chat("Hello")), 1
    for turn in range(3):
        result = await run(engine, prompt, max_tokens=30)
        assert result.cached_tokens >= known - 1
        reference.check_greedy(prompt, result.tokens)
        known = len(prompt) + len(result.tokens)
        prompt = prompt + result.tokens + engine.tokenize("<|im_end|>\n" + chat(f"And {turn}?"))


async def test_with_little_room_old_donors_make_way_and_answers_stay_right(
    make_engine: EngineFactory, reference: Reference
) -> None:
    engine = await make_engine(kv_tokens=512, context_length=256)
    for prompt in PROMPTS * 2:
        tokens = engine.tokenize(prompt)
        result = await run(engine, tokens, max_tokens=60)
        reference.check_greedy(tokens, result.tokens)
    assert engine.stats.available_cells == 512
    assert engine.stats.preemptions == 0


async def test_preempted_sequences_go_on_exactly(make_engine: EngineFactory, reference: Reference) -> None:
    engine = await make_engine(kv_tokens=512, context_length=256, slots=8)
    prompts = [engine.tokenize(prompt) for prompt in PROMPTS[:8]]
    results = await asyncio.gather(*(run(engine, p, constraint=endless(engine), max_tokens=120) for p in prompts))
    assert engine.stats.preemptions > 0
    for prompt, result in zip(prompts, results, strict=True):
        assert (len(result.tokens), result.finish) == (120, "length")
        reference.check_greedy(prompt, result.tokens, engine.model.end_tokens)


# cancelling


async def until_idle(engine: LlamaEngine) -> None:
    """After what was submitted before, the engine has nothing left: a request of its own has come and gone."""
    await run(engine, engine.tokenize("x"), max_tokens=1)
    while engine.stats.running or engine.stats.waiting:
        await asyncio.sleep(0)


async def test_cancel_ends_a_running_generation(make_engine: EngineFactory) -> None:
    engine = await make_engine()
    generation = start(engine, chat("Hello"), constraint=endless(engine))
    await anext(generation)
    generation.cancel()
    assert (await read(generation)).finish == "cancelled"
    assert engine.stats.running == 0
    with pytest.raises(StopAsyncIteration):
        await anext(generation)


async def test_cancel_ends_a_prefill(make_engine: EngineFactory) -> None:
    engine = await make_engine(batch_tokens=32)
    generation = start(engine, [5] * 3000)
    while not engine.stats.prefilled_tokens:
        await asyncio.sleep(0)
    generation.cancel()
    assert (await read(generation)).finish == "cancelled"
    assert engine.stats.prefilled_tokens < 3000
    assert engine.stats.available_cells == engine.stats.free_cells + engine.stats.prefilled_tokens


async def test_cancel_ends_a_request_that_still_waits(make_engine: EngineFactory) -> None:
    engine = await make_engine(slots=1)
    running = start(engine, chat("Hello"), constraint=endless(engine))
    await anext(running)
    waiting = start(engine, chat("Hello"))
    waiting.cancel()
    assert (await read(waiting)).finish == "cancelled"
    await running.aclose()


@pytest.mark.parametrize("how", ["aclose", "forgotten"])
async def test_an_abandoned_generation_frees_its_slot(make_engine: EngineFactory, how: str) -> None:
    engine = await make_engine()
    generation = start(engine, chat("Hello"), constraint=endless(engine))
    await anext(generation)
    if how == "aclose":
        await generation.aclose()
    del generation
    gc.collect()
    await until_idle(engine)
    assert engine.stats.generated_tokens < engine.model.context_length - 100


async def test_hundreds_of_random_cancels_leak_nothing(make_engine: EngineFactory) -> None:
    engine = await make_engine(kv_tokens=1024, context_length=512, slots=8, batch_tokens=128)
    rng = random.Random(5)
    system = engine.tokenize(chat("Hi", "Be brief. " * 20))

    async def one() -> None:
        prompt = system[: rng.randrange(1, len(system))] + [rng.randrange(100) for _ in range(rng.randrange(1, 200))]
        generation = start(engine, prompt, Sampling(seed=1), max_tokens=rng.randrange(40))
        for _ in range(rng.randrange(12)):
            await asyncio.sleep(0)
        match rng.randrange(4):
            case 0:
                await read(generation)
            case 1:
                generation.cancel()
                await read(generation)
            case 2:
                await anext(generation)
                await generation.aclose()

    for _ in range(15):
        await asyncio.gather(*(one() for _ in range(20)))
    gc.collect()
    await until_idle(engine)
    assert engine.stats.available_cells == 1024
    engine._kv.clear()  # the engine's thread sleeps
    assert engine.stats.free_cells == 1024
    assert sorted(engine._kv._ids) == list(range(256))
    assert {engine._context.last_position(sequence) for sequence in range(256)} == {-1}


# smoothness


async def test_a_long_prompt_does_not_stop_running_streams(make_engine: EngineFactory) -> None:
    engine = await make_engine(prefill_tokens=64)
    stream = start(engine, chat("Hello"), constraint=endless(engine))
    await anext(stream)
    before = engine.stats.steps
    late = asyncio.create_task(run(engine, [7] * 2000, max_tokens=1))
    tokens = 0
    async for chunk in stream:
        tokens += len(chunk.tokens)
        if late.done():
            break
    steps = engine.stats.steps - before
    assert steps >= 2000 // 64
    assert tokens >= 2000 // 64  # each of those steps brought the stream a token
    await stream.aclose()


async def test_a_step_is_measured_until_a_gpu_has_computed_it(
    make_engine: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU llama_decode returns before anything is computed: here the wait for that takes a second each time."""
    waits = 0

    class Clock:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def perf_counter() -> float:
            return time.perf_counter() + waits

    def wait(_: object) -> None:
        nonlocal waits
        waits += 1

    engine = await make_engine()
    monkeypatch.setattr(llama, "llama_synchronize", wait)
    monkeypatch.setattr(runner, "time", Clock)
    await run(engine, [5] * 100, constraint=endless(engine), max_tokens=3)
    assert engine.stats.decode_seconds >= engine.stats.steps == 3
    assert engine._scheduler.pace.prompt_tokens == SMALLEST_CHUNK  # at 10 ms a token


async def test_several_prompts_prefill_in_one_step(make_engine: EngineFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = await make_engine()
    go, decode = threading.Event(), Context.decode

    def held(context: Context) -> bool:
        assert go.wait(30)
        return decode(context)

    monkeypatch.setattr(Context, "decode", held)
    first = start(engine, [3] * 600, max_tokens=0)  # keeps it busy until the others are there
    others = [start(engine, [i] * 50, max_tokens=0) for i in range(10, 20)]
    go.set()
    await asyncio.gather(*map(read, [first, *others]))
    assert engine.stats.steps <= 2


# grammars


async def test_the_output_obeys_a_constraint(engine: LlamaEngine) -> None:
    choices = [engine.tokenize(text) for text in ("red and round", "red and square", "green")]
    constraint = Allowed(*choices)
    result = await run(engine, chat("Hello"), Sampling(temperature=5, seed=3), constraint=constraint)
    assert result.tokens in choices
    assert result.tokens == constraint.accepted
    assert result.finish == "stop"


async def test_forced_tokens_are_decoded_without_sampling(make_engine: EngineFactory, reference: Reference) -> None:
    engine = await make_engine()
    forced = engine.tokenize("this was all forced, every word of it")
    open_ended = Allowed(*([*forced, last] for last in (1, 2, 3)))
    before = engine.stats.generated_tokens
    result = await run(engine, chat("Hello"), constraint=open_ended)
    assert result.tokens[:-1] == forced
    assert open_ended.masks == 1
    assert engine.stats.generated_tokens - before == 1
    reference.check_greedy(
        engine.tokenize(chat("Hello")) + forced,
        result.tokens[-1:],
        frozenset(range(engine.model.vocab_size)) - {1, 2, 3},
    )


async def test_tokens_forced_in_the_middle_are_exact_too(engine: LlamaEngine, reference: Reference) -> None:
    middle = engine.tokenize(" and then something long that is forced ")
    ends = [[first, *middle, last] for first in (10, 11) for last in (20, 21)]
    result = await run(engine, chat("Hello"), constraint=Allowed(*ends))
    everything = frozenset(range(engine.model.vocab_size))
    prompt = engine.tokenize(chat("Hello"))
    reference.check_greedy(prompt, result.tokens[:1], everything - {10, 11})
    reference.check_greedy(prompt + result.tokens[:-1], result.tokens[-1:], everything - {20, 21})


@pytest.mark.parametrize("top_logprobs", [None, 0])
async def test_a_token_can_be_replaced(engine: LlamaEngine, top_logprobs: int | None) -> None:
    """With logprobs too, where nothing else is forced: what was not sampled is certain."""

    class Replacing(Allowed):
        def instead(self, token: int) -> list[int]:
            return [7, 8, 9] if self.accepted == [5] else []

    constraint = Replacing([5, 7, 8, 9, 11], [5, 6, 6, 6, 11])
    result = await run(engine, chat("Hello"), Sampling(temperature=0, top_logprobs=top_logprobs), constraint=constraint)
    assert result.tokens == constraint.accepted == [5, 7, 8, 9, 11]
    if top_logprobs is not None:
        logprobs = [one for chunk in result.chunks for one in chunk.logprobs or ()]
        assert [one.token for one in logprobs] == result.tokens
        assert [one.logprob for one in logprobs[1:4]] == [0, 0, 0]


async def test_a_constraint_that_raises_fails_alone(engine: LlamaEngine) -> None:
    class Broken(Allowed):
        @staticmethod
        def fill_masks(constraints: object, rows: object) -> None:
            raise RuntimeError("no mask today")

    bad = start(engine, chat("Hello"), constraint=Broken([1], [2]))
    good = start(engine, chat("Hello"), constraint=Allowed([1, 5], [2, 5]))
    assert (await read(good)).finish == "stop"
    with pytest.raises(EngineFailed, match="no mask today"):
        await read(bad)


# failing and closing


async def test_a_failed_decode_fails_what_runs_and_nothing_later(
    make_engine: EngineFactory, monkeypatch: pytest.MonkeyPatch, reference: Reference
) -> None:
    engine = await make_engine()
    running = [start(engine, prompt, constraint=endless(engine)) for prompt in PROMPTS[:3]]
    for generation in running:
        await anext(generation)
    decode = Context.decode

    def fail(context: Context) -> bool:
        monkeypatch.setattr(Context, "decode", decode)
        raise DecodeFailed("llama_decode returned -3")

    monkeypatch.setattr(Context, "decode", fail)
    for generation in running:
        with pytest.raises(EngineFailed, match="-3"):
            await read(generation)
    result = await run(engine, PROMPTS[0], max_tokens=20)
    reference.check_greedy(engine.tokenize(PROMPTS[0]), result.tokens)
    assert engine.stats.available_cells == engine._kv.cells


async def test_closing_fails_what_runs_and_refuses_more(make_engine: EngineFactory) -> None:
    engine = await make_engine()
    generation = start(engine, chat("Hello"), constraint=endless(engine))
    await anext(generation)
    await engine.close()
    with pytest.raises(EngineFailed, match="closed"):
        await read(generation)
    with pytest.raises(EngineFailed, match="closed"):
        start(engine, chat("Hello"))
    await engine.close()


def test_an_interpreter_that_ends_without_closing_ends_well() -> None:
    script = f"""
import asyncio
from pathlib import Path
from shared.settings import Settings
from workers.engine.core import GenerationRequest
from workers.engine.engine import load_engine
async def main():
    global engine, generation
    engine = load_engine(Path({str(MODEL)!r}), Settings())
    generation = engine.generate(GenerationRequest("x", [1, 2, 3]))
    await anext(generation)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
