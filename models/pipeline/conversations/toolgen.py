"""Made-up tools: random names, parameters of every JSON type, and requests that name the values."""

# ruff: noqa: SIM905 (a word list reads better as a sentence)

from collections.abc import Callable
from typing import Any

from . import results, words
from .dice import Dice, cap, join_and
from .structured import plain
from .toolbox import Arguments, Tool

_VERBS = """get find search create send delete update book set check add play start stop open close list show fetch
lookup count measure translate buy cancel track schedule convert scan move load save print clean order""".split()
_UNITS = [["celsius", "fahrenheit"], ["km", "miles"], ["kg", "pounds"], ["low", "medium", "high"], ["small", "large"],
          ["fast", "slow"], ["on", "off"], ["red", "green", "blue"], ["json", "xml", "csv"],
          ["daily", "weekly", "monthly"], ["asc", "desc"], ["open", "closed", "all"]]
_WHEN = ["today", "tomorrow", "tonight", "Monday", "Friday", "next week", "Sunday", "2026-03-14", "March 5"]

# (names, JSON type, value, phrasings with {k} and {v}, descriptions)
_Kind = tuple[list[str], str, Callable[[Dice], Any], list[str], list[str]]
_KINDS: list[_Kind] = [
    (["location", "city", "place"], "string", Dice.city, ["in {v}", "for {v}", "at {v}"],
     ["The city", "The city or place", "City name, e.g. Paris"]),
    (["name", "person", "contact", "to", "recipient"], "string", Dice.name,
     ["for {v}", "to {v}", "with the {k} {v}", "with {v}"], ["The name of the person", "Who it is for"]),
    (["email", "address"], "string", Dice.email, ["to {v}", "with the {k} {v}"], ["The email address"]),
    (["query", "q", "text", "keyword"], "string", lambda d: d.phrase(1, 3),
     ["for {v}", "about {v}", "with the {k} '{v}'", "'{v}'"], ["The text to search", "The words to look for"]),
    (["title", "subject", "label", "topic"], "string", lambda d: d.phrase(1, 3),
     ["called {v}", "with the {k} {v}", "about {v}", "titled '{v}'"], ["The title", "A short label"]),
    (["message", "body", "content", "note"], "string", lambda d: d.phrase(2, 5),
     ["saying '{v}'", "with the {k} '{v}'", "that says {v}"], ["The text to send"]),
    (["date", "day", "when"], "string", lambda d: d.pick(_WHEN), ["on {v}", "for {v}", "{v}"], ["The day"]),
    (["id", "code", "order_id", "ticket_id", "key"], "string", Dice.ident,
     ["with the {k} {v}", "number {v}", "{v}", "for {v}"], ["The id", "The code"]),
    (["count", "limit", "number", "amount", "quantity", "n"], "integer", lambda d: d.randint(1, 200),
     ["with {k} {v}", "with a {k} of {v}", "{k} {v}", "and use {v} as {k}"], ["How many", "The number of items"]),
    (["price", "distance", "weight", "value", "temperature"], "number",
     lambda d: d.randint(1, 99) if d.chance(0.5) else round(d.rng.uniform(0, 99), 1),
     ["with {k} {v}", "with a {k} of {v}", "{k} {v}", "to {v}"], ["The value", "A number"]),
    (["urgent", "private", "verbose", "silent", "detailed"], "boolean", lambda d: d.chance(0.6), [],
     ["If it is so", "Whether to do so"]),
    (["unit", "level", "mode", "size", "format", "priority"], "enum", Dice.word,
     ["in {v}", "with {k} {v}", "using {v}", "as {v}"], ["One of the choices"]),
    (["tags", "names", "items", "labels"], "array", lambda d: [d.word() for _ in range(d.randint(1, 3))],
     ["with the {k} {v}", "with {k} {v}"], ["A list of values", "The values"]),
    (["filter", "options", "details"], "object", lambda d: {}, ["with {k} {v}"], ["More settings"]),
]
_WEIGHTS = [8, 8, 4, 8, 7, 7, 5, 9, 8, 6, 4, 8, 5, 2]


class _Parameter:
    """One parameter of a made-up tool: its schema, and values with the words that ask for them."""

    def __init__(self, d: Dice, used: set[str]) -> None:
        while True:
            names, self.type, self._value, self._forms, descriptions = d.weighted(_KINDS, _WEIGHTS)
            renamed = self.type != "boolean" and d.chance(0.25)
            self.name = d.pseudo(2, 2) if renamed else d.pick(names)
            if self.name not in used:
                break
        used.add(self.name)
        self._keyed = renamed
        self.enum: list[str] = []
        self.nullable = False
        self.schema: dict[str, Any] = {"type": self.type}
        if self.type == "enum":
            made_up = d.held_out or d.chance(0.4)
            self.enum = [d.pseudo(1, 2) for _ in range(d.randint(2, 4))] if made_up else d.pick(_UNITS)
            self.schema = {"type": "string", "enum": list(self.enum)}
        elif self.type == "array":
            self.schema["items"] = {"type": "string"}
        elif self.type == "object":
            self.inner = [d.pseudo(1, 2) for _ in range(d.randint(1, 2))]
            self.schema["properties"] = {key: {"type": "string"} for key in self.inner}
            if d.chance(0.5):
                self.schema["required"] = list(self.inner)
        if d.chance(0.6):
            self.schema["description"] = d.pick(["The " + self.name, "A value"]) if renamed else d.pick(descriptions)

    def make_nullable(self) -> None:
        """A strict tool's optional parameter: required, but null is allowed."""
        self.schema = {**self.schema, "type": [self.schema["type"], "null"]}
        self.nullable = True

    def value(self, d: Dice, crowded: bool) -> tuple[Any, str]:
        """A value and how the user says it; with other string parameters around, the key is said too."""
        if self.type == "boolean":
            value = self._value(d)
            forms = (["with {k} on", "{k}", "with {k} set to true", "and make it {k}"] if value
                     else ["not {k}", "with {k} off", "with {k} set to false"])
            return value, d.pick(forms).format(k=self.name)
        if self.type == "object":
            inner = {key: d.word() for key in self.inner}
            said = d.pick([" and ", ", "]).join(f"{key} {v}" for key, v in inner.items())
            return inner, d.pick(self._forms).format(k=self.name, v=said)
        value = d.pick(self.enum) if self.enum else self._value(d)
        form = d.pick(self._forms)
        ambiguous = crowded and self.type == "string" and "@" not in plain(value) and "{k}" not in form
        if self.type not in ("array",) and (self._keyed or ambiguous or d.chance(0.25)):
            form = d.pick(["with the {k} {v}", "with {k} {v}", "{k} {v}", "{k}: {v}", "{k} = {v}",
                           "with the {k} '{v}'"])
        return value, form.format(k=self.name, v=join_and(value) if isinstance(value, list) else plain(value))


def made_up(d: Dice) -> Tool:
    """A random tool."""
    verb = d.pseudo(2, 2) if d.chance(0.2 if d.held_out else 0.12) else d.pick(_VERBS)
    noun = d.pseudo(2, 3) if d.held_out or d.chance(0.4) else d.pick(words.NOUNS)
    opaque = d.chance(0.06)
    name = d.pseudo(2, 3) if opaque else d.pick([f"{verb}_{noun}"] * 5 + [verb + cap(noun), f"{verb}-{noun}",
                                                                           f"{noun}_{verb}", f"{verb}_the_{noun}"])
    used: set[str] = set()
    parameters = [_Parameter(d, used) for _ in range(d.pick([0, 1, 1, 1, 2, 2, 3, 4]))]
    required = [p.name for p in parameters if d.chance(0.75)]
    for p in parameters:
        if p.name in required and p.type in ("string", "integer", "number") and d.chance(0.06):
            p.make_nullable()
    description = d.pick([f"{cap(verb)} a {noun}", f"{cap(verb)} the {noun}.", f"Use this to {verb} a {noun}.",
                          f"{cap(verb)} {noun}", f"This function can {verb} a {noun}."])
    if not opaque and d.chance(0.1):
        description = ""

    def ask(d: Dice) -> tuple[str, Arguments]:
        said: list[tuple[str, str]] = []
        arguments: Arguments = {}
        given = [p for p in parameters
                 if (p.name in required and not (p.nullable and d.chance(0.5)))
                 or (p.name not in required and d.chance(0.5))]
        for p in parameters:
            if p in given:
                if p.enum and p.name in required and d.chance(0.1):
                    arguments[p.name] = p.enum[0]
                    continue
                arguments[p.name], words_ = p.value(d, len(given) > 1)
                said.append((p.name, words_))
            elif p.name in required:
                arguments[p.name] = None
        d.shuffle(said)
        details = " " + d.pick([" ", ", ", " and "]).join(w for _, w in said) if said else ""
        text = d.say(["{v} {r} {n}{x}.", "Please {v} {r} {n}{x}.", "Can you {v} {r} {n}{x}?",
                      "I want to {v} {r} {n}{x}.",
                      "I need you to {v} {r} {n}{x}.", "Could you {v} {r} {n}{x}?", "{v} {r} {n}{x}"],
                     ["Would you {v} {r} {n}{x}?", "Please can you {v} {r} {n}{x}?",
                      "I would like you to {v} {r} {n}{x}."])
        if not opaque and d.chance(0.08):
            text = "Use {f}{x}." if said else "Call {f}."
        return cap(text.format(v=verb, r=d.pick(["the", "a", "my", "the"]), n=noun, x=details, f=name)), arguments

    return Tool(name, description, {p.name: p.schema for p in parameters}, required, f"{verb} {noun}", ask,
                lambda d, a: results.generic(d, noun), lambda a, r: results.report(r))
