"""What a function returns, and the sentence that reports it."""

import json
from typing import Any

from . import words
from .dice import Dice, cap, join_and
from .structured import dump, plain


def leaves(value: dict[str, Any]) -> list[tuple[str, str]]:
    """(key, text) of every leaf of a JSON object, in order."""
    out: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, dict):
            out += leaves(item)
        elif isinstance(item, list):
            out.append((key, join_and([plain(x) for x in item]) if item else "empty"))
        else:
            out.append((key, "unknown" if item is None else plain(item)))
    return out


def first_sentence(text: str) -> str:
    """The first sentence of a text whose headings start with #."""
    body = next((line for line in text.split("\n") if line.strip() and not line.startswith("#")), text)
    head, dot, _ = body.partition(". ")
    return head + "." if dot else body


def report(result: Any) -> str:
    """The answer that tells the user about a result."""
    if isinstance(result, list):
        return f"Here are the results: {join_and([_item(x) for x in result])}." if result else "There are no results."
    if isinstance(result, dict):
        if "error" in result:
            return f"Sorry, that did not work: {plain(result['error']).rstrip('.')}."
        if not result:
            return "It is done."
        (first_key, first_text), *rest = leaves(result)
        return " ".join([f"The {first_key} is {first_text}", *[f"and the {k} is {v}" for k, v in rest]]) + "."
    text = plain(result)
    if text.startswith("Error: "):
        return f"Sorry, that did not work: {text[7:].rstrip('.')}."
    if not text:
        return "It is done."
    if "\n" in text or len(text) > 160:
        return f"Here is what I found: {first_sentence(text)}"
    return f"Here is the result: {text}" if " " in text else f"The result is {text}."


def _item(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in leaves(value)) if isinstance(value, dict) else plain(value)


def weather_report(place: str, result: Any) -> str:
    """`The weather in Paris: temperature 21, condition sunny.`"""
    if isinstance(result, dict) and "error" not in result:
        pairs = [(k, v) for k, v in leaves(result) if k not in ("location", "city")]
        return f"The weather in {place}: {', '.join(f'{k} {v}' for k, v in pairs)}."
    if isinstance(result, str) and not result.startswith("Error: "):
        return f"The weather in {place}: {result.rstrip('.')}."
    return report(result)


def error(d: Dice) -> Any:
    """A failure, as an object or as text."""
    what = d.pick([d.phrase(1, 3), "not found", "timeout", "permission denied", "invalid argument", "no such file",
                   f"unknown {d.pick(words.NOUNS)}", "service unavailable", f"connection to {d.pseudo(1, 2)} failed"])
    return {"error": what} if d.chance(0.6) else f"Error: {what}"


def weather(d: Dice, place: str) -> Any:
    sky = d.pick(["sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear", d.pseudo(1, 2)])
    degrees, unit = d.randint(-19, 105), d.pick(["celsius", "fahrenheit", "C", "F"])
    return d.pick([
        lambda: {"temperature": degrees, "condition": sky}, lambda: {"temperature": degrees},
        lambda: {"temp": degrees, "unit": unit}, lambda: f"{degrees} degrees and {sky}",
        lambda: f"{cap(sky)}, {degrees}°{d.pick('CF')}", lambda: {"location": place, "temperature": degrees,
                                                                  "unit": unit},
        lambda: {"city": place, "temperature": degrees, "conditions": sky, "humidity": d.randint(1, 99)},
        lambda: {"location": place, "current": {"temperature": degrees, "sky": sky}},
        lambda: f"It is {sky} and {degrees} degrees", lambda: str(degrees), lambda: f"{degrees}",
    ])()


def _value(d: Dice) -> Any:
    return d.pick([d.word, d.name, lambda: d.randint(0, 9999), d.city, d.ident, lambda: d.phrase(1, 4),
                   lambda: round(d.rng.uniform(0, 99), d.randint(1, 2)), lambda: d.chance(0.5)])()


def generic(d: Dice, noun: str) -> Any:
    """A result of any tool: mostly a small object, also text, numbers, lists, nothing."""
    shape = d.rng.random()
    if shape < 0.15:
        return {"status": d.pick(["ok", "done", "success", "sent", "created", d.pseudo(1, 2)])}
    if shape < 0.3:
        return {d.pick(["id", "code", "number", "key", f"{noun}_id"]): d.ident()}
    if shape < 0.5:
        return {d.pick(["result", "value", "total", "answer", "name", noun, d.pseudo(1, 2)]): _value(d)}
    if shape < 0.68:
        keys = d.sample(["status", "state", "id", "count", "price", "name", "date", "owner", noun, d.pseudo(1, 2)],
                        d.randint(2, 4))
        return {key: _value(d) for key in keys}
    if shape < 0.74:
        return {noun: {d.pick(["id", "name"]): d.ident(), d.pick(["count", "size", "state"]): _value(d)}}
    if shape < 0.8:
        return {d.pick(["items", "results", noun + "s"]): [d.word() for _ in range(d.randint(1, 4))]}
    if shape < 0.84:
        return [d.phrase(1, 2) for _ in range(d.randint(1, 4))]
    if shape < 0.87:
        return [{"id": d.randint(1, 99), "name": d.word()} for _ in range(d.randint(1, 3))]
    if shape < 0.93:
        return d.pick([cap(d.phrase(2, 6)) + ".", f"The {noun} is {d.phrase(1, 2)}.", d.phrase(2, 5)])
    if shape < 0.98:
        return d.pick([str(d.randint(0, 99999)), d.ident(), d.pseudo(1, 3), "ok", "done", "true"])
    return d.pick(["", {}])


def to_content(d: Dice, result: Any) -> str:
    """The text of the tool message: strings as they are, the rest as JSON in one of the usual layouts."""
    if isinstance(result, str):
        return result
    shape = d.rng.random()
    if shape < 0.75:
        return dump(result)
    return json.dumps(result, ensure_ascii=False, **({"separators": (",", ":")} if shape < 0.95 else {"indent": 2}))
