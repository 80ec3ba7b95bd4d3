"""Calls written as JSON objects: `{"name": "N", "arguments": {...}}`, alone or in a list."""

from __future__ import annotations

import json

from workers.dialects.arguments import JsonArguments
from workers.dialects.parser import Calls
from workers.dialects.stream import Steps


def read_object(
    calls: Calls, name_key: str, arguments_key: str, *, opened: bool = False, before_name: tuple[str, ...] | None = None
) -> Steps[bool]:
    """Reads one object and gives out its call. Other keys are passed over; the order of the keys does not matter.

    `opened`: its brace is read already. `before_name`: the only keys that may come before the name, with strings in
    which nothing is escaped.
    """
    source = calls.source
    if not opened and (yield from source.next_is("{")) is None:
        return False
    arguments: JsonArguments | None = None
    early: list[str] = []  # arguments that came before the name
    given = False
    while True:
        yield from source.space()
        key: list[str] = []
        if (yield from source.peek()) != '"' or not (yield from source.json_value(key.append)):
            return False
        yield from source.space()
        if (yield from source.next_is(":")) is None:
            return False
        yield from source.space()
        which = "".join(key)[1:-1]
        if which == name_key and arguments is None:
            name: list[str] = []
            if (yield from source.peek()) != '"' or not (yield from source.json_value(name.append)):
                return False
            arguments = calls.json(_string("".join(name)))
            if arguments is None:
                return False
            for part in early:
                arguments.feed(part)
        elif arguments is None and before_name is not None and which not in before_name:
            return False
        elif which in (arguments_key, *_ARGUMENT_KEYS) and not given:
            given = True
            if not (yield from source.json_value(arguments.feed if arguments else early.append)):
                return False
        elif before_name is not None:
            plain: list[str] = []
            if (yield from source.peek()) != '"' or not (yield from source.json_value(plain.append)):
                return False
            if arguments is None and any("\\" in part for part in plain):
                return False
        elif not (yield from source.json_value(_ignore)):
            return False
        yield from source.space()
        after = yield from source.next_is(",", "}")
        if after is None:
            return False
        if after == "}":
            break
    if arguments is None:
        return False
    if not given:
        arguments.feed("{}")
    calls.end()
    return True


def read_list(calls: Calls, name_key: str, arguments_key: str) -> Steps[bool]:
    """Reads a list of objects behind its `[`."""
    while True:
        yield from calls.source.space()
        if not (yield from read_object(calls, name_key, arguments_key)):
            return False
        yield from calls.source.space()
        after = yield from calls.source.next_is(",", "]")
        if after is None:
            return False
        if after == "]":
            return True


_ARGUMENT_KEYS = ("arguments", "parameters")  # models mix them up


def _ignore(text: str) -> None:
    pass


def _string(text: str) -> str:
    if "\\" in text:
        return ""  # no tool's name has to be escaped
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""
