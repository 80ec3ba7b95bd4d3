"""The tokenizer of training and llama.cpp's give the same ids."""

import random

from models.pipeline.conversations.dice import Dice
from models.pipeline.conversations.mix import sample
from models.pipeline.evaluate import Runner
from models.pipeline.tokenizer import load

ODD = [
    "I'm you're we'LL it'S don't",
    "  leading",
    "trailing  ",
    "\n\n\n a",
    "a\r\nb",
    "1234567.89",
    "½ ² ٣٤ Ⅷ",
    "e\u0301 é ñ",
    "\u200d👨‍👩‍👧",
    "tab\tand\u00a0space",
    "<tool_call> x </tool_call>",
    "<|end|> \n",
    "日本語 テスト",
    "",
]
RANGES = [
    (32, 126),
    (32, 126),
    (9, 13),
    (160, 0x24F),
    (0x370, 0x5FF),
    (0x4E00, 0x9FFE),
    (0x1F300, 0x1F600),
    (0x2000, 0x20FF),
]


def test_both_tokenizers_agree(runner: Runner) -> None:
    rng, d = random.Random(3), Dice(random.Random(4))
    texts = list(ODD)
    texts += ["".join(text for text, _ in runner.dialect.render(sample(d))) for _ in range(150)]
    texts += ["".join(chr(rng.randint(*rng.choice(RANGES))) for _ in range(rng.randint(1, 40))) for _ in range(500)]
    tokenizer = load(runner.dialect.specials)
    for text in texts:
        assert runner.tokens(text) == tokenizer.encode(text, add_special_tokens=False).ids, text


def test_only_the_ends_of_a_turn_end_the_generation(runner: Runner) -> None:
    ends = {"spark": {"<|im_end|>", "<|endoftext|>"}, "spark-oss": {"<|return|>", "<|call|>", "<|endoftext|>"}}
    wanted = ends[runner.dialect.name]
    assert {s for s in runner.dialect.specials if runner.ends(runner.tokens(s)[0])} == wanted
