"""The vocabulary of the random models: words of three syllables, each one token, and prompts made of them.

A byte-level BPE in the form of GPT-2's, so that llama.cpp tokenizes with its real code:
bytes, then the syllables `b a`, then `Ġ ba`, then `Ġba ce`, then `Ġbace di`: one merge for each token. Last come the
pieces that JSON is made of, as every real vocabulary of this size has them: without those, JSON would be many more
tokens than it is for a real model, and nearly all of them forced.
"""

from __future__ import annotations

import random
import re
from functools import cache

CONSONANTS = "bcdfghjklmnprstvwxyz"
VOWELS = "aeiou"
SPACE = "Ġ"  # how GPT-2's table writes the byte 0x20
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WORDS = 140_000
WORD_CHARACTERS = 7  # " bacedi"
SEED = 20_260_101

JSON_MARKS = """
    { " | " : | " , | " } | " ] | } , | } ] | [ " | [ {" | "] , | }] , | Ġ " | Ġ {" | Ġ [" | Ġ [{" | Ġ [
""".strip().split(" | ")  # as merges
JSON_WORDS = """
    title summary category priority tags people name role reachable answer resolved billing delivery defect question
    customer engineer manager true false
""".split()  # noqa: SIM905  as a list it is a column of words

SYLLABLES = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]


def byte_letters() -> list[str]:
    """GPT-2's table: a printable letter for each byte, by its value."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


@cache
def words() -> list[str]:
    """All words, without the space before them."""
    count = len(SYLLABLES)
    chosen = random.Random(SEED).sample(range(count**3), WORDS)
    return [SYLLABLES[n // count**2] + SYLLABLES[n // count % count] + SYLLABLES[n % count] for n in sorted(chosen)]


def merges() -> list[str]:
    """The merges in order of rank."""
    syllables = [f"{consonant} {vowel}" for consonant in CONSONANTS for vowel in VOWELS]
    first = [f"{SPACE} {one}" for one in SYLLABLES]
    second = [f"{SPACE}{one} {two}" for one in SYLLABLES for two in SYLLABLES]
    third = [f"{SPACE}{word[:4]} {word[4:]}" for word in words()]
    return [*syllables, *first, *second, *third, *_json_merges()]


def vocabulary() -> tuple[list[str], int]:
    """The tokens in order, and the index of the first word; control tokens come last."""
    made = dict.fromkeys(merge.replace(" ", "") for merge in merges())
    long = {SPACE + word: None for word in words()}
    shorter = [*byte_letters(), *(token for token in made if token not in long)]
    return [*shorter, *long, *CONTROL], len(shorter)


def _json_merges() -> list[str]:
    """Words from the left, out of what the syllables leave of them. No word of a prompt has any of these pairs left
    when their turn comes."""
    made: dict[str, None] = {}
    for word in JSON_WORDS:
        whole, *others = re.findall("|".join((*SYLLABLES, ".")), word)
        for piece in others:
            made[f"{whole} {piece}"] = None
            whole += piece
    return [*made, *JSON_MARKS]


class Writer:
    """Prompts that nobody has sent before: `text(n)` is n tokens of a random model's vocabulary."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._words = words()

    def text(self, count: int) -> str:
        return " " + " ".join(self._random.choices(self._words, k=count))
