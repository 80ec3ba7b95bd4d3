"""Trains the byte-level BPE tokenizer of both models.

    python -m models.pipeline.tokenizer          # about 1 minute; writes models/pipeline/tokenizer.json

The pre-tokenizer is llama.cpp's `qwen2`: single digits, which makes sums, counting and copied ids easier. A word must
have the same tokens after a space, a quote, `_` or `{`, or copying `San` into `"San` means learning a second
vocabulary. So BPE is trained with letters split from what stands before them, and the commonest whole words then get
one merge with a space, appended last: both runtimes follow the ranks.
"""

import collections
import json
import random
import re
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .conversations import chatml, harmony
from .conversations.dice import Dice
from .conversations.mix import sample

HERE = Path(__file__).parent
VOCABULARY = 2304
SPACED_WORDS = 420
_QWEN2 = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLIT_LETTERS = r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPECIAL_COUNT = len(chatml.SPECIALS)


def _pre_tokenizer(regex: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def corpus(conversations: int, seed: int) -> list[str]:
    """Text of both formats between special tokens; the boilerplate appears once in fifty."""
    d = Dice(random.Random(seed))
    special = re.compile("|".join(map(re.escape, chatml.SPECIALS + harmony.SPECIALS)))
    texts: list[str] = []
    for i in range(conversations):
        conversation = sample(d)
        text = "".join(t for t, _ in (chatml if i % 2 else harmony).render(conversation))
        if i % 50:
            text = text.replace(chatml.TOOLS_HEAD, "").replace(chatml.TOOLS_TAIL, "")
        texts += [part for part in special.split(text) if part]
    return texts


def train(conversations: int = 16000, seed: int = 42) -> dict[str, Any]:
    """The vocabulary and merges, without special tokens: `{"vocab": {...}, "merges": [[a, b], ...]}`."""
    texts = corpus(conversations, seed)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = _pre_tokenizer(_SPLIT_LETTERS)
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - _SPECIAL_COUNT - SPACED_WORDS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
            max_token_length=14,
        ),
    )
    model = json.loads(raw.to_str())["model"]
    vocab, merges = model["vocab"], [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    counts: collections.Counter[str] = collections.Counter()
    for text in texts:
        counts.update(re.findall(r" [A-Za-z]{3,}", text))
    frequent = [w[1:] for w, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    for word in [w for w in frequent if w in vocab and "Ġ" + w not in vocab][:SPACED_WORDS]:
        vocab["Ġ" + word] = len(vocab)
        merges.append(["Ġ", word])
    assert len(vocab) == VOCABULARY - _SPECIAL_COUNT, len(vocab)
    return {"vocab": vocab, "merges": merges}


def build(model: dict[str, Any], specials: list[str]) -> Tokenizer:
    """The tokenizer of one dialect: the shared vocabulary and the dialect's special tokens at the end."""
    tokenizer = Tokenizer(models.BPE(vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]]))
    tokenizer.pre_tokenizer = _pre_tokenizer(_QWEN2)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    return tokenizer


def load(specials: list[str], path: Path = HERE / "tokenizer.json") -> Tokenizer:
    """The tokenizer of one dialect from the shared file."""
    return build(json.loads(path.read_text()), specials)


if __name__ == "__main__":
    (HERE / "tokenizer.json").write_text(json.dumps(train(), ensure_ascii=False, separators=(",", ":")) + "\n")
