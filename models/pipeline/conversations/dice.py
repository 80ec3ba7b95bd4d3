"""Seeded choices. Everything random in the data goes through one `Dice`, so that a seed names a conversation."""

# ruff: noqa: SIM905 (a word list reads better as a sentence)

import codecs
import random
import string
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from . import words

T = TypeVar("T")

_SYLLABLES = [c + v for c in "b c d f g h j k l m n p r s t v w z br cl dr fl gr kr pl st tr sh ch th".split()
              for v in "aeiou"]
_ENDINGS = ["", "", "n", "r", "l", "s", "t", "m", "x", "nd", "rk", "ck"]
_WIDE_SYLLABLES = [c + v for c in """b c d f g h j k l m n p q r s t v w x y z qu wh sc sp sw sn gl pr squ bl cr ph sl
sm str kn wr gh""".split() for v in """a e i o u y ea ee oo ou ai ie oa au ei oi io ia ue ar er or ur al el il an en on
in""".split()]
_WIDE_ENDINGS = """ble tion sion ing ed er ly ness ment ght ss ll nk ng st ch sh ld lt mp pt ft gs ps ms ve ge ke te ne
se le ful ism ity ist ure age""".split() + [""] * 8

# Syllables make rude words by accident. A pseudo-word or id that contains one of these fragments is drawn again.
# They are rot13 so that this file is not itself unpleasant to read or search.
_RUDE = [codecs.decode(w, "rot13") for w in (
    "shpx shx shk shpu fuvg phag phz pbpx pbk qvpx qvx fyhg juber uber avt snt encr gvg cvff ovgpu nany anmv xvxr cbea "
    "frk cravf intva chff gjng jnax nefr nff onfg xxx uvgy cbb ghe snegl sneg penc qvyq pyvg xyvg nahf ubzb arteb fcvp "
    "pbba tbbx puvax puva cnxv gneq fynt fxnax cevpx xabo chgn zreqn fnqb fpebg obob obbo qnza uryy fgnyva trfgnc "
    "tebcr crqb crnqb yrfo qlxr genaal ergne fcnfg pevc zhss fuvt ovzob zbyrf fgnem fgnexba ubggr fynirf xvyy qehtf "
    "urebva pbpn zrgu penx fhvpvqr ybyvgn vaprfg ohttre ohxnx snaal").split()]


def is_rude(text: str) -> bool:
    """Whether `text` contains a fragment of the list above, in any case."""
    low = text.lower()
    return any(fragment in low for fragment in _RUDE)


def is_held_out(value: str) -> bool:
    """Whether a random word belongs to the seventh of all words that only the evaluation uses."""
    return zlib.crc32(value.lower().encode()) % 7 == 0


class Dice:
    """Choices from one `random.Random`. With `held_out`, only phrasings and values that training never shows."""

    def __init__(self, rng: random.Random, held_out: bool = False) -> None:
        self.rng = rng
        self.held_out = held_out
        self.randint = rng.randint
        self.shuffle = rng.shuffle
        self.sample = rng.sample

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.random() * len(options))]

    def weighted(self, options: Sequence[T], weights: Sequence[float]) -> T:
        return self.rng.choices(options, weights)[0]

    def say(self, seen: Sequence[str], unseen: Sequence[str]) -> str:
        """One phrasing: of `seen` in training, of `unseen` in the evaluation."""
        return self.pick(unseen if self.held_out else seen)

    def known(self, seen: Sequence[str], unseen: Sequence[str]) -> str:
        """One real-world value; the two lists are disjoint."""
        return self.pick(unseen if self.held_out else seen)

    def _draw(self, make: Callable[[], str]) -> str:
        while True:
            value = make()
            if is_held_out(value) == self.held_out and not is_rude(value):
                return value

    def pseudo(self, low: int = 1, high: int = 3) -> str:
        """A made-up lower-case word of `low` to `high` syllables, and perhaps a final consonant."""
        syllables, endings = (_SYLLABLES, _ENDINGS) if self.chance(0.6) else (_WIDE_SYLLABLES, _WIDE_ENDINGS)
        return self._draw(lambda: "".join(self.pick(syllables) for _ in range(self.randint(low, high)))
                          + self.pick(endings))

    def ident(self) -> str:
        """An id such as `QX-4821`, `a7f3k2`, `482913` or `KtRw`."""
        def make() -> str:
            shape = self.rng.random()
            if shape < 0.35:
                letters = "".join(self.pick(string.ascii_uppercase) for _ in range(self.randint(2, 3)))
                return letters + self.pick(["-", ""]) + str(self.randint(10, 9999))
            if shape < 0.6:
                return "".join(self.pick(string.ascii_lowercase + string.digits) for _ in range(self.randint(4, 8)))
            if shape < 0.8:
                return str(self.randint(100, 999999))
            return "".join(self.pick(string.ascii_letters) for _ in range(self.randint(3, 7)))
        return self._draw(make)

    def name(self) -> str:
        """A first name, real or made up."""
        if self.chance(0.4):
            return self.known(words.NAMES, words.UNSEEN_NAMES)
        return cap(self.pseudo(2, 3))

    def city(self) -> str:
        if self.chance(0.5):
            return self.known(words.CITIES, words.UNSEEN_CITIES)
        if self.chance(0.7):
            return cap(self.pseudo(2, 3))
        return cap(self.pseudo(1, 2)) + " " + cap(self.pseudo(1, 2))

    def word(self) -> str:
        """A noun, adjective, made-up word or id."""
        shape = self.rng.random()
        if shape < 0.6:
            return self.pick(self.pick(words.COMMON))
        return self.pseudo(1, 3) if shape < 0.9 else self.ident()

    def phrase(self, low: int = 1, high: int = 5) -> str:
        while True:
            text = " ".join(self.word() for _ in range(self.randint(low, high)))
            if not is_rude(text):
                return text

    def email(self) -> str:
        return self.pseudo(1, 2) + "@" + self.pseudo(1, 2) + self.pick([".com", ".org", ".net"])

    def number(self, low: int = 0, high: int = 999) -> int:
        return self.randint(low, high)


def cap(text: str) -> str:
    """`text` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def lower_first(text: str) -> str:
    """`text` with its first letter in lower case, unless it starts with the word I or an all-capitals word."""
    if text[:2] in ("I ", "I'") or text[:2].isupper():
        return text
    return text[:1].lower() + text[1:]


def join_and(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def with_article(noun: str) -> str:
    """`an owl`, `a fox`."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun
