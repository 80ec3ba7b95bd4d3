"""The whole way on a CPU: data, 20 steps of training, export, and the same words from llama.cpp as from torch."""

import random
from pathlib import Path

import llama_cpp
import pytest
import torch

from models.pipeline.conversations.dice import Dice
from models.pipeline.conversations.mix import sample
from models.pipeline.export import export
from models.pipeline.model import Config, Spark, greedy
from models.pipeline.packing import CHATML, DIALECTS, HARMONY, rows
from models.pipeline.tokenizer import load as load_tokenizer
from models.pipeline.train import DocumentMask, load, losses, masked, train

SMALL = Config(width=64, layers=2, heads=2, kv_heads=1, hidden=96)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of 20 steps, with its checkpoint and its three exports."""
    folder = tmp_path_factory.mktemp("trained")
    torch.set_num_threads(1)
    train(
        CHATML,
        folder / "spark.pt",
        steps=20,
        minutes=2,
        batch_rows=1,
        row_length=512,
        workers=1,
        rate=2e-2,
        seed=7,
        device="cpu",
        config=SMALL,
    )
    model, dialect = load(folder / "spark.pt")
    for kind in ("F32", "F16", "Q8_0"):
        export(model, dialect, folder / f"{kind}.gguf", kind)
    return folder


def prompts(count: int) -> list[list[int]]:
    d, tokenizer = Dice(random.Random(13), held_out=True), load_tokenizer(CHATML.specials)
    texts = ("".join(text for text, _ in CHATML.render(sample(d))) for _ in range(count))
    return [tokenizer.encode(text, add_special_tokens=False).ids[:300] for text in texts]


def test_twenty_steps_lower_the_loss(trained: Path) -> None:
    torch.manual_seed(7)
    batch = torch.from_numpy(next(rows(CHATML, 99, 512)))[:, None].long()
    mask = DocumentMask(1, 512, "cpu")(batch[4])
    before = losses(Spark(SMALL), batch, mask)[0]
    assert losses(load(trained / "spark.pt")[0], batch, mask)[0] < before - 0.2


def test_llama_cpp_says_what_torch_says(trained: Path) -> None:
    model, _ = load(trained / "spark.pt")
    llama = llama_cpp.Llama(
        str(trained / "F32.gguf"),
        n_ctx=512,
        n_threads=1,
        verbose=False,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
    )
    for ids in prompts(6):
        with torch.no_grad():
            wanted = greedy(model, ids, set(), 24)
        got: list[int] = []
        for token in llama.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0):
            got.append(token)
            if len(got) == len(wanted):
                break
        assert got == wanted


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_the_smaller_exports_load_and_are_smaller(trained: Path, kind: str) -> None:
    assert (trained / f"{kind}.gguf").stat().st_size < (trained / "F32.gguf").stat().st_size
    llama = llama_cpp.Llama(str(trained / f"{kind}.gguf"), n_ctx=256, n_threads=1, verbose=False)
    assert llama.metadata["general.architecture"] == "qwen3"
    assert len(list(zip(range(5), llama.generate(prompts(1)[0][:50], temp=0.0), strict=False))) == 5


def test_conversations_in_one_row_do_not_see_each_other() -> None:
    torch.manual_seed(1)
    model, batch = Spark(SMALL).eval(), torch.from_numpy(next(rows(CHATML, 4, 1024)))[:, None].long()
    starts = batch[4, 0]
    last = int(starts[int((batch[2, 0] > 0).nonzero()[-1])])
    mask = DocumentMask(1, 1024, "cpu")
    with torch.no_grad():
        logits = model(batch[0], batch[3], masked(mask(batch[4])))[0, last:]
        batch[0, 0, :last] = 5
        assert torch.equal(logits, model(batch[0], batch[3], masked(mask(batch[4])))[0, last:])


@pytest.mark.parametrize("dialect", [CHATML, HARMONY], ids=DIALECTS.keys())
def test_rows_are_packed_full(dialect) -> None:
    stream = rows(dialect, 5, 2048)
    for _ in range(4):
        ids, targets, weights, positions, starts = next(stream)
        inside = weights > 0
        assert (weights == 100).mean() > 0.1
        assert (ids > 0).mean() > 0.7
        assert positions.max() < 32768
        assert (starts <= range(2048)).all()
        same = starts[1:] == starts[:-1]
        assert (targets[:-1][same & inside[:-1]] == ids[1:][same & inside[:-1]]).all()
