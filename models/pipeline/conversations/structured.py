"""JSON: from given pairs, from a sentence, and after a schema in the system prompt."""

import json
from typing import Any

from . import words
from .conversation import Exchange, Scene, Thought
from .dice import Dice, cap, join_and


def dump(value: Any) -> str:
    """JSON as the chat templates write it: key order kept, no ASCII escapes."""
    return json.dumps(value, ensure_ascii=False)


def plain(value: Any) -> str:
    """A value as people write it in a sentence."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


_FIELDS = {
    "name": Dice.name, "city": Dice.city, "age": lambda d: d.randint(1, 99), "color": lambda d: d.pick(words.COLOURS),
    "food": lambda d: d.pick(words.FOODS), "job": lambda d: d.pick(words.JOBS),
    "animal": lambda d: d.pick(words.ANIMALS), "id": Dice.ident, "count": lambda d: d.randint(0, 500),
    "title": lambda d: cap(d.phrase(1, 3)), "active": lambda d: d.chance(0.5), "word": Dice.word,
    "price": lambda d: round(d.rng.uniform(1, 99), 1), "country": lambda d: d.pick(list(words.CAPITALS)),
    "email": Dice.email,
}


def _thought(keys: list[str]) -> Thought:
    return Thought("write JSON", "a request for JSON", (f"The keys are {join_and(keys)}.",))


def from_pairs(d: Dice, s: Scene) -> Exchange:
    keys = d.sample(list(_FIELDS), d.randint(1, 4))
    if d.held_out or d.chance(0.25):
        keys[0] = d.pseudo(1, 2)
    value = {key: _FIELDS[key](d) if key in _FIELDS else d.word() for key in keys}
    form = d.pick(["{k} {v}", "{k}: {v}", "{k} = {v}", "{k} is {v}", "{k} {v}"])
    listed = d.pick([", ", " and ", "; "]).join(form.format(k=k, v=plain(v)) for k, v in value.items())
    user = d.say(["Give me a JSON object with {}.", "Write JSON with {}.", "Make a JSON object: {}.",
                  "Answer in JSON: {}.", "Return this as JSON: {}.", "Convert to JSON: {}.", "Create JSON for {}.",
                  "Extract as JSON: {}", "Give me JSON with {}", "Reply with a JSON object: {}", "Write {} as JSON.",
                  "Make JSON from this: {}", "Turn {} into a JSON object.", "JSON with {}", "A JSON object with {}",
                  "Output JSON: {}", "I need JSON: {}", "Format this as JSON: {}", "As JSON: {}",
                  "Put this in JSON: {}"],
                 ["Please write a JSON object with {}.", "Turn this into JSON: {}.", "JSON object please: {}"])
    return Exchange(user.format(listed), _thought(keys), dump(value), "json", literal=True)


def _person(d: Dice) -> tuple[str, dict[str, Any]]:
    """A sentence about somebody and its facts in the order of the sentence."""
    n, c, a, j = d.name(), d.city(), d.randint(1, 99), d.pick(words.JOBS)
    return d.pick([
        (f"{n} lives in {c}.", {"name": n, "city": c}),
        (f"{n} is {a} years old.", {"name": n, "age": a}),
        (f"{n} is {a} years old and lives in {c}.", {"name": n, "age": a, "city": c}),
        (f"{n} from {c} is {a}.", {"name": n, "city": c, "age": a}),
        (f"{n} is a {j} from {c}.", {"name": n, "job": j, "city": c}),
        (f"{n} is a {a} year old {j}.", {"name": n, "age": a, "job": j}),
        (f"{n} works as a {j}.", {"name": n, "job": j}),
    ])


def from_sentence(d: Dice, s: Scene) -> Exchange:
    text, value = _person(d)
    keys = list(value)
    d.shuffle(keys)
    value = {key: value[key] for key in keys}
    user = d.say(["Extract {k} as JSON: {t}", "Reply in JSON with the keys {k}. {t}", "{t} Answer as JSON with {k}.",
                  "Return JSON with {k} for this text: {t}", "Extract a JSON object with the keys {k}: {t}",
                  "Give me the {k} as JSON. {t}", "{t} Give me JSON with {k}.",
                  "Find {k} in this text and answer in JSON: {t}", "Parse this into JSON with the keys {k}: {t}",
                  "{t} Return {k} in a JSON object."],
                 ["Please extract {k} as JSON: {t}", "{t} Write it as JSON with the keys {k}."])
    return Exchange(user.format(k=d.pick([", ", " and "]).join(keys), t=text), _thought(keys), dump(value), "json",
                    literal=True)


_TYPES = {"name": "string", "city": "string", "age": "integer", "job": "string", "date": "string",
          "participants": "array"}


def _event(d: Dice) -> tuple[str, dict[str, Any]]:
    people = [d.name() for _ in range(d.randint(1, 3))]
    what = d.pick([f"{d.pick(words.ADJECTIVES)} {d.pick(words.NOUNS)} fair", "science fair", "birthday party",
                   "concert",
                   f"{d.pseudo(2, 3)} meeting", "book club", "football game", f"{d.pick(words.FOODS)} party"])
    day = d.pick(words.DAYS) if d.chance(0.8) else d.pick(["today", "tomorrow"])
    verb = "is" if len(people) == 1 else "are"
    on = f"on {day}" if day[0].isupper() else day
    article = "an" if what[0] in "aeiou" else "a"
    return (f"{join_and(people)} {verb} going to {article} {what} {on}.",
            {"name": what, "date": day, "participants": people})


def by_schema(d: Dice, s: Scene) -> tuple[str, Exchange]:
    """A system prompt that asks for JSON by a schema, and a text to extract from."""
    text, value = _event(d) if d.chance(0.4) else _person(d)
    keys = list(value)
    if d.chance(0.5):
        d.shuffle(keys)
    value = {key: value[key] for key in keys}
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    for key in keys:
        kind = _TYPES[key]
        schema["properties"][key] = {"type": kind, "items": {"type": "string"}} if kind == "array" else {"type": kind}
    if d.chance(0.8):
        schema["required"] = keys
    if d.chance(0.6):
        schema["additionalProperties"] = False
    shown = dump(schema) if d.chance(0.7) else json.dumps(schema, ensure_ascii=False, indent=2)
    system = d.say(
        ["Answer with a JSON object that matches this schema:\n{}", "Respond only with JSON for this schema: {}",
         "Extract the information as JSON. The schema is:\n{}", "Reply in JSON. Schema: {}",
         "Your answer must be JSON that follows this JSON schema:\n\n{}", "# Response format\n\n{}",
         "Extract the event information.\n\nAnswer with JSON that matches this schema:\n{}",
         "Respond with a JSON object matching this JSON Schema:\n```json\n{}\n```"],
        ["Write your answer as JSON matching this schema:\n{}", "Only answer with a JSON object. Its schema: {}"],
    ).format(shown)
    return system, Exchange(text, _thought(keys), dump(value), "json_schema", literal=True)
