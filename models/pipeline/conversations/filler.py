"""Plain English sentences about nothing: long system prompts, tool descriptions, documents."""

# ruff: noqa: SIM905 (a word list reads better as a sentence)

from . import words
from .dice import Dice, cap

_ADVERBS = "always often quickly carefully usually never simply quietly".split()
_VERBS = "reads writes sends checks stores loads opens shows keeps counts builds updates".split()
_BASE_VERBS = "read write send check store load open show keep count build update".split()


def _thing(d: Dice) -> str:
    noun = d.pick(words.NOUNS) if d.chance(0.75) else d.pseudo(2, 3)
    return f"{d.pick(words.ADJECTIVES)} {noun}" if d.chance(0.4) else noun


def statement(d: Dice) -> str:
    """One declarative sentence."""
    form = d.pick(["The {a} {v} the {b}.", "Every {a} {w} {v} a {b}.", "When the {a} is {j}, the {b} is {k}.",
                   "A {a} with {n} {b}s is called a {p}.", "The {a} of the {b} has {n} parts.",
                   "In {c}, the {a} {v} the {b} on {y}.", "{N} {w} {v} the {a} before the {b}.",
                   "It {v} the {a}, the {b} and the {p}.", "There are {n} {a}s in the {b}.",
                   "Since {m}, the {a} {v} {n} {b}s."])
    return cap(form.format(a=_thing(d), b=_thing(d), v=d.pick(_VERBS), w=d.pick(_ADVERBS), j=d.pick(words.ADJECTIVES),
                           k=d.pick(words.ADJECTIVES), n=d.randint(2, 99), p=d.pseudo(2, 3), c=d.city(),
                           y=d.pick(words.DAYS), m=d.pick(words.MONTHS), N=d.name()))


def rule(d: Dice) -> str:
    """One sentence of the kind that fills system prompts; nothing in it changes an answer."""
    form = d.pick(["You should {v} the {a} before you {u} the {b}.", "Never {v} a {a} without a {b}.",
                   "If the {a} is {j}, {v} the {b} first.", "The {a} is in the {b} of the {p}.",
                   "You {w} {v} the {a} when the user asks for a {b}.", "Prefer a {a} over a {b}.",
                   "Be {j} and {k} with the user.", "Remember that the {a} may be {j}.",
                   "Do not {v} the {a} and the {b} at the same time.", "Use the {p} {a} to {v} the {b}.",
                   "Keep your answers {j} and {k}.", "You work with {a}s, {b}s and {p}s."])
    return form.format(a=_thing(d), b=_thing(d), v=d.pick(_BASE_VERBS), u=d.pick(_BASE_VERBS), w=d.pick(_ADVERBS),
                       j=d.pick(words.ADJECTIVES), k=d.pick(words.ADJECTIVES), p=d.pseudo(2, 3))


def paragraph(d: Dice, sentences: int) -> str:
    return " ".join(statement(d) for _ in range(sentences))


def guidelines(d: Dice, sentences: int) -> str:
    """A system prompt of many rules, with markdown headings and bullets as agents write them."""
    parts: list[str] = []
    opening = d.pick(["You are a helpful assistant.", "You are a coding agent.", "You are an expert assistant.",
                      "You help the user with their work.", f"You work in the {d.pick(words.NOUNS)} team.", ""])
    if opening:
        parts.append(opening)
    left = sentences
    while left > 0:
        n = min(left, d.randint(2, 8))
        shape = d.rng.random()
        if shape < 0.4:
            parts.append(" ".join(rule(d) for _ in range(n)))
        elif shape < 0.8:
            title = cap(d.phrase(1, 2))
            parts.append(d.pick(["# ", "## ", "### "]) + title + "\n" + "\n".join("- " + rule(d) for _ in range(n)))
        elif shape < 0.9:
            tag = d.pseudo(1, 2)
            parts.append(f"<{tag}>\n" + "\n".join(rule(d) for _ in range(n)) + f"\n</{tag}>")
        else:
            parts.append("```\n" + "\n".join(f"{d.pseudo(1, 2)} = {d.pseudo(1, 2)}({d.ident()})" for _ in range(n))
                         + "\n```")
        left -= n
    return "\n\n".join(parts)
