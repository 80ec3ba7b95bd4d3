"""Pictures in the engine: what the model computes is what mtmd's own loop computes, shared or not, preempted or not."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import llama_cpp.llama_cpp as llama
import llama_cpp.mtmd_cpp as mtmd
import numpy as np
import pytest

from shared.data_urls import write_data_url
from shared.settings import Settings
from tests.pictures import picture
from tests.workers.engine.conftest import MODEL, EngineFactory
from tests.workers.engine.helpers import GREEDY, Endless, run, start
from tests.workers.engine.random_models import WIDTH, image_positions
from tests.workers.engine.random_projectors import any_size, one_size
from tests.workers.engine.reference import NEGLIGIBLE
from workers.engine.core import EngineFailed, GenerationRequest, Picture, PictureRefused, Reading, Sampling
from workers.engine.engine import LlamaEngine, load_engine
from workers.engine.model import load_model
from workers.engine.vision import Vision

SPARK_WIDTH = 256
QUESTION = "What is it?<|im_end|>\n<|im_start|>assistant\n"

Prompt = list[str | Picture]


def seen(width: int, height: int, seed: int = 0) -> Picture:
    data = picture(width, height, seed)
    return Picture(hashlib.sha256(data).hexdigest(), width, height, write_data_url(data))


@pytest.fixture(scope="session")
def projectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projectors")
    any_size(folder / "any.gguf", SPARK_WIDTH)
    one_size(folder / "one.gguf", SPARK_WIDTH)
    any_size(folder / "mrope.gguf", WIDTH)
    image_positions(folder / "qwen2vl.gguf")
    return folder


@pytest.fixture(params=["any", "one", "mrope"])
def pair(request: pytest.FixtureRequest, projectors: Path) -> tuple[Path, Path]:
    """A model and its projector: one token per 16 x 16 pixels; a fixed number that see each other; M-RoPE."""
    model = projectors / "qwen2vl.gguf" if request.param == "mrope" else MODEL
    return model, projectors / f"{request.param}.gguf"


class Bare:
    """One prompt at a time through mtmd's own helper: what the engine must not differ from."""

    def __init__(self, model: Path, projector: Path) -> None:
        self._model = load_model(model, Settings())
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = 2048
        parameters.n_threads = parameters.n_threads_batch = 1
        self._context = llama.llama_init_from_model(self._model.handle, parameters)
        options = mtmd.mtmd_context_params_default()
        options.use_gpu, options.n_threads, options.warmup = False, 1, False
        self._projector = mtmd.mtmd_init_from_file(str(projector).encode(), self._model.handle, options)

    def logprobs(self, prompt: Prompt, pixels: list[bytes], sizes: list[tuple[int, int]]) -> np.ndarray:
        """The logarithms of the next token's probabilities."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        data = "".join(part if isinstance(part, str) else "<__media__>" for part in prompt).encode()
        text = mtmd.mtmd_input_text(data, len(data), False, True)
        bitmaps = (mtmd.mtmd_bitmap_p_ctypes * len(pixels))()
        for number, (raw, (width, height)) in enumerate(zip(pixels, sizes, strict=True)):
            bitmaps[number] = mtmd.mtmd_bitmap_init(width, height, (ctypes.c_uint8 * len(raw)).from_buffer_copy(raw))
        chunks = mtmd.mtmd_input_chunks_init()
        assert mtmd.mtmd_tokenize(self._projector, chunks, ctypes.byref(text), bitmaps, len(pixels)) == 0
        past = llama.llama_pos(0)
        assert mtmd.mtmd_helper_eval_chunks(self._projector, self._context, chunks, 0, 0, 512, True, past) == 0
        self.positions = past.value
        self.cells = mtmd.mtmd_helper_get_n_tokens(chunks)
        mtmd.mtmd_input_chunks_free(chunks)
        for bitmap in bitmaps:
            mtmd.mtmd_bitmap_free(bitmap)
        pointer = ctypes.cast(llama.llama_get_logits_ith(self._context, -1), ctypes.POINTER(ctypes.c_float))
        logits = np.ctypeslib.as_array(pointer, (self._model.info.vocab_size,)).astype(np.float64)
        return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()

    def close(self) -> None:
        mtmd.mtmd_free(self._projector)
        llama.llama_free(self._context)
        self._model.free()


@pytest.fixture
def bare(pair: tuple[Path, Path]) -> Bare:
    bare = Bare(*pair)
    yield bare
    bare.close()


def pixels_of(width: int, height: int, seed: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8).tobytes()


async def first_logprobs(engine: LlamaEngine, reading: Reading) -> tuple[dict[int, float], int]:
    """The likeliest next tokens with their logarithms, and how much of the prompt was cached."""
    sampling = replace(GREEDY, top_logprobs=20)
    result = await run(engine, reading.tokens, sampling, images=reading.images, max_tokens=1)
    [logprob] = [one for chunk in result.chunks for one in chunk.logprobs or ()]
    return dict(logprob.top), result.cached_tokens


def check_same(top: dict[int, float], expected: np.ndarray) -> None:
    assert top
    for token, logprob in top.items():
        assert logprob == pytest.approx(expected[token], abs=NEGLIGIBLE)


async def test_pictures_are_computed_as_mtmd_does(
    make_engine: EngineFactory, pair: tuple[Path, Path], bare: Bare
) -> None:
    model, projector = pair
    engine = await make_engine(model, projector, batch_tokens=64, prefill_tokens=64, micro_batch_tokens=64)
    prompt: Prompt = ["Look: ", seen(100, 70, 1), " and ", seen(150, 80, 2), "\n" + QUESTION]
    reading = engine.read(prompt)
    top, cached = await first_logprobs(engine, reading)
    expected = bare.logprobs(prompt, [pixels_of(100, 70, 1), pixels_of(150, 80, 2)], [(100, 70), (150, 80)])
    check_same(top, expected)
    assert (len(reading.tokens), cached) == (bare.cells, 0)
    assert sum(image.count - image.span for image in reading.images) == bare.cells - bare.positions
    assert engine.stats.prefilled_tokens == bare.cells
    other = bare.logprobs(prompt, [pixels_of(100, 70, 3), pixels_of(150, 80, 2)], [(100, 70), (150, 80)])
    assert np.abs(other - expected).max() > 0.5  # the pictures do make a difference


async def test_the_same_picture_is_shared_and_another_is_not(
    make_engine: EngineFactory, pair: tuple[Path, Path], bare: Bare
) -> None:
    model, projector = pair
    engine = await make_engine(model, projector)

    def prompt(seed: int, question: str) -> Prompt:
        return ["Look: ", seen(100, 70, seed), question + QUESTION]

    first = engine.read(prompt(1, "Now. "))
    await first_logprobs(engine, first)
    same = engine.read(prompt(1, "What? "))
    top, cached = await first_logprobs(engine, same)
    assert cached >= first.images[0].end
    check_same(top, bare.logprobs(prompt(1, "What? "), [pixels_of(100, 70, 1)], [(100, 70)]))
    another = engine.read(prompt(2, "What? "))
    top, cached = await first_logprobs(engine, another)
    assert cached == another.images[0].start
    check_same(top, bare.logprobs(prompt(2, "What? "), [pixels_of(100, 70, 2)], [(100, 70)]))
    top, cached = await first_logprobs(engine, same)
    assert cached == len(same.tokens) - 1
    check_same(top, bare.logprobs(prompt(1, "What? "), [pixels_of(100, 70, 1)], [(100, 70)]))


async def test_a_preempted_sequence_sees_its_picture_again(make_engine: EngineFactory, pair: tuple[Path, Path]) -> None:
    model, projector = pair
    roomy = await make_engine(model, projector, context_length=256)
    tight = await make_engine(model, projector, context_length=256, kv_tokens=256, slots=4)
    prompts = [roomy.read(["Look: ", seen(100, 70, seed), "\n" + QUESTION]) for seed in range(4)]
    outputs = []
    for engine in (roomy, tight):
        generations = [
            run(engine, engine.read(["Look: ", seen(100, 70, seed), "\n" + QUESTION]).tokens, GREEDY,
                images=prompts[seed].images, max_tokens=60, constraint=Endless(engine.model.end_tokens))
            for seed in range(4)
        ]  # fmt: skip
        outputs.append([result.tokens for result in await asyncio.gather(*generations)])
    assert tight.stats.preemptions > 0
    assert roomy.stats.preemptions == 0
    same = [sum(a == b for a, b in zip(*pair_, strict=True)) for pair_ in zip(*outputs, strict=True)]
    assert min(same) > 20 or outputs[0] == outputs[1]  # near ties may part them in the end


async def test_trimmed_donors_keep_whole_pictures(
    make_engine: EngineFactory, pair: tuple[Path, Path], bare: Bare
) -> None:
    model, projector = pair
    engine = await make_engine(model, projector, context_length=512, kv_tokens=512, slots=2)
    prompt: Prompt = ["Look: ", seen(320, 240, 1), "\n" + QUESTION]
    reading = engine.read(prompt)
    expected = bare.logprobs(prompt, [pixels_of(320, 240, 1)], [(320, 240)])
    await first_logprobs(engine, reading)
    for length in (100, 200, 300, 400):
        await run(engine, [1000 + length if engine.model.vocab_size > 2000 else 97, *[98] * length], max_tokens=1)
        top, cached = await first_logprobs(engine, reading)
        assert not reading.images[0].start < cached < reading.images[0].end
        check_same(top, expected)


async def test_others_go_on_while_a_picture_is_looked_at(
    make_engine: EngineFactory, projectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine(MODEL, projectors / "any.gguf")
    look: Future[None] = Future()
    encode: Callable[[Vision, Picture], object] = Vision._encode

    def slow(self: Vision, image: Picture) -> object:
        look.result()
        return encode(self, image)

    monkeypatch.setattr(Vision, "_encode", slow)
    reading = engine.read([seen(100, 70), QUESTION])
    waiting = start(engine, reading.tokens, images=reading.images, max_tokens=3)
    blind = await run(engine, "Hello<|im_end|>\n<|im_start|>assistant\n", max_tokens=20)
    assert blind.tokens
    assert engine.stats.running == 1
    look.set_result(None)
    assert [chunk async for chunk in waiting][-1].finish is not None


async def test_a_cancelled_request_does_not_wait_for_its_picture(
    make_engine: EngineFactory, projectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine(MODEL, projectors / "any.gguf")
    look: Future[None] = Future()
    looked_at: list[str] = []
    encode = Vision._encode

    def slow(self: Vision, image: Picture) -> object:
        looked_at.append(image.digest)
        look.result()
        return encode(self, image)

    monkeypatch.setattr(Vision, "_encode", slow)
    pictures = [seen(100, 70, seed) for seed in range(2)]
    readings = [engine.read([one, QUESTION]) for one in pictures]
    generations = [start(engine, reading.tokens, images=reading.images, max_tokens=3) for reading in readings]
    generations[1].cancel()
    assert [chunk.finish async for chunk in generations[1]] == ["cancelled"]
    look.set_result(None)
    assert [chunk async for chunk in generations[0]][-1].finish is not None
    assert looked_at == [pictures[0].digest]  # nobody wanted the other any more


async def test_a_picture_that_cannot_be_looked_at_fails_its_own_request(
    make_engine: EngineFactory, projectors: Path
) -> None:
    engine = await make_engine(MODEL, projectors / "any.gguf")
    broken = replace(seen(100, 70), url=write_data_url(picture(100, 70)[:500]))
    reading = engine.read([broken, QUESTION])
    blind = start(engine, "Hello", max_tokens=5)
    with pytest.raises(EngineFailed, match="could not be looked at"):
        await run(engine, reading.tokens, images=reading.images)
    assert [chunk async for chunk in blind][-1].finish is not None
    whole = engine.read([replace(broken, url=seen(100, 70).url), QUESTION])
    assert (await run(engine, whole.tokens, images=whole.images, max_tokens=2)).finish is not None


async def test_odd_sizes_are_seen_or_refused(make_engine: EngineFactory, pair: tuple[Path, Path]) -> None:
    model, projector = pair
    engine = await make_engine(model, projector, context_length=2048)
    for width, height in ((1, 1), (1, 3000), (3000, 1), (7, 2000), (17, 33)):
        try:
            reading = engine.read([seen(width, height), QUESTION])
        except PictureRefused:
            continue
        assert (await run(engine, reading.tokens, images=reading.images, max_tokens=1)).finish is not None


async def test_a_picture_that_has_to_be_seen_at_once_needs_a_batch_for_it(
    make_engine: EngineFactory, projectors: Path
) -> None:
    engine = await make_engine(MODEL, projectors / "one.gguf", micro_batch_tokens=8)
    with pytest.raises(PictureRefused, match="MICRO_BATCH_TOKENS"):
        engine.read([seen(64, 64), QUESTION])


async def test_without_a_projector_pictures_are_refused(make_engine: EngineFactory, tmp_path: Path) -> None:
    (tmp_path / "mmproj.gguf").write_bytes(b"GGUF rubbish")
    for projector in (None, tmp_path / "mmproj.gguf"):
        engine = await make_engine(MODEL, projector)
        assert not engine.model.vision
        with pytest.raises(PictureRefused, match="no vision projector"):
            engine.read([seen(64, 64), QUESTION])
        assert engine.read(["Hel", "lo"]).tokens == engine.tokenize("Hello")


async def test_long_runs_beside_pictures_are_cut_as_everywhere(make_engine: EngineFactory, projectors: Path) -> None:
    engine = await make_engine(MODEL, projectors / "any.gguf")
    run = engine.tokenize("hello" * 2000)
    assert engine.read(["hello" * 2000, seen(64, 64), QUESTION]).tokens[: len(run)] == run


async def test_a_prompt_has_to_be_what_the_engine_read(make_engine: EngineFactory, projectors: Path) -> None:
    engine = await make_engine(MODEL, projectors / "any.gguf")
    reading = engine.read(["A", seen(64, 64)])
    for request in (
        GenerationRequest("r", reading.tokens[: reading.images[0].end], images=reading.images),
        GenerationRequest("r", [*reading.tokens, 1]),
        GenerationRequest("r", [-1, 1], Sampling()),
    ):
        with pytest.raises(ValueError):
            engine.generate(request)


def test_loading_survives_a_projector_for_another_model(projectors: Path) -> None:
    engine = load_engine(MODEL, Settings(), None, projectors / "mrope.gguf")
    assert not engine.model.vision
    asyncio.run(engine.close())
