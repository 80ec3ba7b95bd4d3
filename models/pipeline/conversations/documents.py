"""Documents that a tool fetches or the user pastes, and questions that are answered by quoting them."""

# ruff: noqa: SIM905 (a word list reads better as a sentence)

import textwrap
from dataclasses import dataclass
from typing import Any

from . import results, words
from .conversation import Exchange, Scene, Thought
from .dice import Dice, cap
from .filler import paragraph, statement
from .toolbox import Arguments, Tool

_KINDS = """library package tool framework module project service server parser client toolkit compiler tokeniser
tokenizer database plugin""".split()
_MARKS = ["", "", "", "", "🚀 ", "⏳ ", "The ", "📦 "]


@dataclass(slots=True)
class Document:
    """A markdown text with what can be asked about it; each part is a whole line or sentence of `text`."""

    title: str
    first: str
    second: str
    last: str
    install: str
    text: str


def _link(d: Dice, text: str) -> str:
    """A markdown link."""
    host = d.pick(["", "www.", "en.", d.pseudo(1, 2) + "."]) + d.pseudo(1, 3) + d.pick([".org", ".com", ".io",
                                                                                        ".github.io"])
    path = [cap(d.pseudo(1, 2)) if d.chance(0.5) else d.pseudo() for _ in range(d.randint(1, 3))]
    return f"[{text}](https://{host}/{d.pick(['/', '/', '_']).join(path)})"


def _mention(d: Dice) -> str:
    """A sentence with a link or a piece of code in it."""
    a, b = d.pseudo(1, 2), d.pseudo(2, 3)
    return d.pick([f"It can be installed from {_link(d, cap(b))}.",
                   f"See {_link(d, d.phrase(1, 2))} for the {d.pick(words.NOUNS)}.",
                   f"The source of `{a}` is at {_link(d, b)}.",
                   f"You can use `{a}.{b}` with {_link(d, d.pick(words.NOUNS))}.",
                   f"[![{a}](https://{b}.io/{a}.svg)](https://{b}.io) shows the {d.pick(words.NOUNS)}."])


def _team(d: Dice) -> str:
    """The name of a product or a team."""
    if d.chance(0.6):
        return cap(d.pseudo(2, 3))
    return cap(d.pseudo(1, 2)) + d.pick(["AI", "DB", "JS", cap(d.pseudo(1, 2))])


def _opening(d: Dice, name: str) -> str:
    kind, gerund = d.pick(_KINDS), d.pick("reading writing sending checking storing loading counting building".split())
    noun = d.pick(words.NOUNS) if d.chance(0.7) else d.pseudo(2, 3)
    if d.chance(0.25):
        noun = _link(d, noun if d.chance(0.7) else noun.upper())
    adjective = d.pick([*words.ADJECTIVES, "fast", "simple", "open", "modern"])
    form = d.pick(["{n} is a {a} {k} for {g} {o}s.", "{n} is a {a} {o} {k} for use with {p}.",
                   "{n} makes {g} {o}s easy.", "{n} is the {k} that the {p} team uses for {g} {o}s.",
                   "Welcome to {n}, a {a} {k}.", "{n} helps you with {g} {o}s, {p} and more.",
                   "{n} is a {a} {o} {k} for use with {p}'s models.",
                   "{n} is a {a} {o} {k} for {p}, {q} and {g} {o}s.", "This is the documentation of {n}."])
    return form.format(n=name, a=adjective, k=kind, g=gerund, o=noun, p=_team(d), q=d.pseudo(2, 3))


def document(d: Dice, name: str) -> Document:
    """A text of 2 to about 80 sentences about `name`."""
    title = d.pick(_MARKS) + d.pick([name, name, cap(name), f"{name} documentation"])
    first = _opening(d, name) if d.chance(0.8) else statement(d)
    second, last = statement(d), statement(d)
    install = f"Install it with `pip install {d.pseudo(2, 3)}`."
    opening = first + d.pick([" ", " ", "\n\n"]) + second
    if d.chance(0.25) and "\n" not in opening:
        opening = textwrap.fill(opening, d.pick([50, 60, 72, 80, 100]), break_long_words=False, break_on_hyphens=False)
    parts = [d.pick([f"# {title}", f"# {title}", title + "\n" + "=" * len(title)]), opening]
    for _ in range(d.pick([0, 1, 2, 3, 5, 9])):
        shape = d.rng.random()
        if shape < 0.3:
            parts.append(f"## {cap(d.phrase(1, 3))}")
        elif shape < 0.45:
            a, b = d.pseudo(1, 2), d.pseudo(1, 2)
            parts.append(f"```python\nimport {a}\n{b} = {a}.{d.pseudo(1, 2)}(\"{d.word()}\")\n"
                         f"assert {b} == {d.ident()}\n```")
        elif shape < 0.55:
            parts.append(_mention(d) + d.pick(["", "\n```\npip install " + d.pseudo(2, 3) + "\n```"]))
        elif shape < 0.65:
            parts.append("\n".join(d.pick(["- ", "* "]) + statement(d) for _ in range(d.randint(2, 5))))
        else:
            parts.append(paragraph(d, d.randint(1, 6)))
    parts.insert(d.randint(2, len(parts)), f"## Installation\n\n{install}")
    parts.append(last if d.chance(0.5) else f"{statement(d)} {last}")
    return Document(title, first, second, last, install, "\n\n".join(parts))


_SEEN = ["What is the {w} of {s}?", "Tell me the {w} of {s}.", "What's the {w} of {s}?", "Give me the {w} of {s}.",
         "Quote the {w} of {s}.", "Read {s} and tell me its {w}."]
_UNSEEN = ["Can you quote the {w} of {s}?", "Please tell me the {w} of {s}.", "Which is the {w} of {s}?"]


def question(d: Dice, subject: str) -> tuple[str, str]:
    """A question about `subject` and the name of the part that answers it."""
    part = d.weighted(["first", "title", "second", "last", "install", "all"], [10, 4, 3, 4, 2, 3])
    if part == "install":
        return d.say(["How do I install it? Look at {s}.", "How is it installed according to {s}?"],
                     ["How can I install it? See {s}."]).format(s=subject), part
    if part == "all":
        return d.say(["Read {s}.", "Fetch {s}.", "Show me {s}.", "What does {s} say?", "Open {s}."],
                     ["Please read {s}.", "Can you fetch {s}?"]).format(s=subject), part
    what = {"first": "first sentence", "second": "second sentence", "last": "last sentence", "title": "title"}[part]
    if part == "title" and d.chance(0.3):
        what = "heading"
    return d.say(_SEEN, _UNSEEN).format(w=what, s=subject), part


def answer(part: str, subject: str, doc: Document) -> str:
    if part == "install":
        return doc.install
    if part == "all":
        return f"Here is what I found: {doc.first}"
    quoted = {"first": doc.first, "second": doc.second, "last": doc.last, "title": doc.title}[part]
    what = "title" if part == "title" else f"{part} sentence"
    return f"The {what} of {subject} is: \"{quoted}\""


def tools(d: Dice) -> list[Tool]:
    """A documentation tool without arguments, alone or beside a search over the same documents, or a page reader."""
    name = d.pick([d.pseudo(2, 4), d.pseudo(2, 4), cap(d.pseudo(2, 3)), "tiktoken"] if not d.held_out else
                  [d.pseudo(2, 4), d.pseudo(2, 3)])
    noun = d.pick(["documentation", "documentation", "documentation", "docs", "readme", "manual"])
    subject = d.pick([f"the {name} {noun}", f"the {name} {noun}", f"the {noun} of {name}"])
    state: dict[str, Any] = {}

    def ask(d: Dice) -> tuple[str, Arguments]:
        text, state["part"] = question(d, subject)
        return text, {}

    def fetch(d: Dice, arguments: Arguments) -> str:
        state["doc"] = document(d, name)
        return state["doc"].text

    fetcher = Tool(d.pick([f"fetch_{name}_{noun}", f"fetch_{name}_{noun}", f"get_{name}_{noun}",
                           f"read_{name}_{noun}"]),
                   d.pick([f"Fetch the {noun} of {name}.", f"Returns the whole {name} {noun}.",
                           f"Fetches the {noun} file of the {name} project. Useful for general questions."]),
                   {}, [], f"{name} {noun}", ask, fetch, lambda a, r: answer(state["part"], subject, state["doc"]))
    if d.chance(0.4):
        return [fetcher]
    found: dict[str, Any] = {}

    def search_ask(d: Dice) -> tuple[str, Arguments]:
        query = d.phrase(1, 3)
        text = d.say(["Search the {s} for {q}.", "Search for {q} in the {s}.", "Find {q} in the {s}.",
                      "Look for {q} in the {s}.", "What does the {s} say about {q}?"],
                     ["Please search the {s} for {q}.", "Can you find {q} in the {s}?"])
        return text.format(s=f"{name} {noun}", q=query), {"query": query}

    def search(d: Dice, arguments: Arguments) -> str:
        found["text"] = f"## {cap(d.phrase(1, 3))}\n\n{paragraph(d, d.randint(2, 6))}"
        return found["text"]

    searcher = Tool(f"search_{name}_{noun}", d.pick([f"Search within the {name} {noun}.",
                                                     f"Search the {noun} of {name}."]),
                    {"query": {"type": "string", "description": "The search query"}}, ["query"],
                    f"{name} search", search_ask, search, lambda a, r: results.report(found["text"]))
    return [fetcher, searcher] if d.chance(0.7) else [searcher, fetcher]


def page_reader(d: Dice) -> Tool:
    """`fetch_page(url)` or `read_file(path)`, asked for a part of the text."""
    is_file = d.chance(0.5)
    state: dict[str, Any] = {}

    def ask(d: Dice) -> tuple[str, Arguments]:
        name = d.pseudo(2, 3)
        if is_file:
            place = f"{name}{d.pick(['.md', '.txt', '.rst'])}"
        else:
            place = f"https://{name}.{d.pick(['com', 'org'])}/{d.pseudo(1, 2)}"
        state["name"], state["subject"] = name, place
        text, state["part"] = question(d, place)
        return text, {"path" if is_file else "url": place}

    def fetch(d: Dice, arguments: Arguments) -> str:
        state["doc"] = document(d, state["name"])
        return state["doc"].text

    key = "path" if is_file else "url"
    return Tool(d.pick(["read_file", "open_file", "load_file"] if is_file else ["fetch_page", "fetch_url", "open_url"]),
                d.pick(["Reads a file", "Returns the text of a file"] if is_file else ["Fetches a page",
                                                                                       "Get the text of a URL"]),
                {key: {"type": "string"}}, [key], "file" if is_file else "page", ask, fetch,
                lambda a, r: answer(state["part"], state["subject"], state["doc"]))


def pasted(d: Dice, s: Scene) -> Exchange:
    """A question about a text inside the message."""
    doc = document(d, d.pseudo(2, 3))
    part = d.pick(["first", "first", "title", "last", "second"])
    what = "title" if part == "title" else f"{part} sentence"
    user = d.say(["What is the {w} of this text?\n\n{t}", "Quote the {w} of the following text.\n\n{t}",
                  "{t}\n\nWhat is the {w} of the text above?", "Tell me the {w} of this document:\n\n{t}"],
                 ["Please quote the {w} of this text:\n\n{t}"]).format(w=what, t=doc.text)
    quoted = {"first": doc.first, "second": doc.second, "last": doc.last, "title": doc.title}[part]
    thought = Thought(f"quote the {what}", "a question about a text", (f"I look for the {what}.",))
    return Exchange(user, thought, f"The {what} is: \"{quoted}\"", "document", literal=True)
