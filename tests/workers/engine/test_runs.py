"""Long runs of one kind of characters must not end the process, and must change nothing else."""

from __future__ import annotations

import random
import subprocess
import sys
import unicodedata
from itertools import groupby
from pathlib import Path

import pytest

from workers.engine.engine import LlamaEngine
from workers.engine.runs import LONGEST_RUN, PIECE, Runs

ROOT = Path(__file__).parents[3]
PRE_TOKENIZERS = ("gpt-4o", "exaone-moe", "bloom")
"""One of each way to take a run."""


def test_no_run_ends_the_process_with_any_pre_tokenizer() -> None:
    command = [sys.executable, "-m", "tests.workers.engine.long_runs"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stdout.splitlines()[-1:]) == (0, ["done"]), ran.stdout[-100:] + ran.stderr[-2000:]


@pytest.mark.parametrize("pre_tokenizer", PRE_TOKENIZERS)
@pytest.mark.parametrize(
    "text",
    [
        "".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))),
        "".join(path.read_text() for path in sorted((ROOT / "workers").glob("*.py"))),
        "Быстрая бурая лиса, которая прыгает через ленивую собаку.\n" * 500,
        "大家好，我是一个语言模型，很高兴认识你们。\n" * 500,
        "|" + " - |" * 5000,
        ("x" * 1000 + ", ") * 100,
        (" " * (LONGEST_RUN - 1) + "x,") * 10,
        "." * LONGEST_RUN,
    ],
    ids=["docs", "code", "cyrillic", "chinese", "table", "long words", "blanks", "dots"],
)
def test_ordinary_text_stays_whole(pre_tokenizer: str, text: str) -> None:
    assert Runs(pre_tokenizer, ()).cut(text) == [text]


@pytest.mark.parametrize("pre_tokenizer", PRE_TOKENIZERS)
@pytest.mark.parametrize("seed", range(8))
def test_no_piece_has_a_long_run(pre_tokenizer: str, seed: int) -> None:
    rng = random.Random(seed)
    text = ""
    for _ in range(rng.randrange(1, 8)):
        characters = rng.choice(["aAéß漢\u0301", " \n\t\u3000", ".-\u0301😀", "19", "a1", "a ", "ab, ", "a.b!"])
        text += "".join(rng.choices(characters, k=rng.randrange(4 * LONGEST_RUN)))
    pieces = Runs(pre_tokenizer, ()).cut(text)
    assert "".join(pieces) == text
    assert all(pieces)
    for piece in pieces:
        for letters in ("LM", "PSM", "Z", "N"):  # one after the other; Z stands for all blanks
            runs = [len(list(run)) for inside, run in groupby(_categories(piece), letters.__contains__) if inside]
            assert max(runs, default=0) <= LONGEST_RUN


def test_a_run_is_cut_at_the_same_places_wherever_it_stands() -> None:
    runs = Runs("gpt-4o", ())
    alone = runs.cut("a" * 10_000)
    assert [len(piece) for piece in alone] == [PIECE] * 5 + [10_000 - 5 * PIECE]
    for before in ("Hi, ", "Hi, " * 700, "word " * 1001):
        pieces = runs.cut(before + "a" * 10_000 + " and more")
        assert pieces == [before + alone[0], *alone[1:-1], alone[-1] + " and more"]


@pytest.mark.parametrize("before", range(PIECE - 12, PIECE + 3))
def test_no_cut_goes_through_a_marker(engine: LlamaEngine, before: int) -> None:
    """The end of a turn must not vanish because of what somebody wrote before it."""
    text = "." * (before - 2) + "…。" + "<||>" * 3 + "<|im_end|>" + "." * 2 * LONGEST_RUN + "<|im_end|><|im_end|>"
    end = engine.tokenize("<|im_end|>")
    tokens = engine.tokenize(text)
    assert tokens.count(end[0]) == 3
    assert b"".join(map(engine.piece, tokens)) == text.encode()


def test_cuts_keep_away_from_markers() -> None:
    runs = Runs("gpt-4o", ["<||||>", "||", "<||", "  "])
    dots = "." * (PIECE - 3)
    assert runs.cut(dots + "<||||>" + "." * LONGEST_RUN)[0] == dots  # not inside
    assert runs.cut("." * (PIECE - 6) + "<||||>" + "." * LONGEST_RUN)[0] == "." * (PIECE - 6) + "<||||>"  # behind
    assert [len(piece) for piece in runs.cut(" " * 2 * LONGEST_RUN)] == [PIECE] * 4  # half of the blanks are blanks
    assert [len(piece) for piece in runs.cut("|" * 2 * LONGEST_RUN)] == [PIECE] * 4


def test_a_long_run_reads_as_it_was_written(engine: LlamaEngine) -> None:
    for text in ("漢" * 10_000, "e\u0301" * 10_000, "x" * 10_000, "12" * 5_000, "\n" * 10_000):
        assert b"".join(map(engine.piece, engine.tokenize(text))) == text.encode()


def _categories(text: str) -> str:
    return "".join("Z" if character.isspace() else unicodedata.category(character)[0] for character in text)
