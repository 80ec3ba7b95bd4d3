"""Parts of a JSON schema, each with what its references lead to and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import unquote

from llguidance import LLMatcher, LLTokenizer

from shared.excess import DATA, GROUPS
from shared.grammar import json_grammar
from shared.trial import LIMITS

_DEFINITIONS = ("$defs", "definitions")
MAX_TRIED = 1_000_000  # bytes of parts of one schema that are tried
_ADDRESSES = ("$id", "$anchor")


@lru_cache(maxsize=1024)
def _is_possible(written: str) -> bool:
    grammar = json_grammar(json.loads(written))
    return not LLMatcher(LLTokenizer("byte"), grammar, log_level=0, limits=LIMITS).is_error()


class Parts:
    """The parts of one schema, in which references are addresses of definitions that they bring along."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MAX_TRIED
        self._names: dict[int, str] = {}  # of what references lead to, by its id
        self._targets: list[Any] = []
        self._moved_targets: dict[str, tuple[Any, list[str]]] = {}

    def alone(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """A schema of its own that means what `schema` means as a part of the whole."""
        named: list[str] = []
        moved: dict[str, Any] = self._moved(schema, named)
        definitions: dict[str, Any] = {}
        while named:
            if (name := named.pop()) not in definitions:
                definitions[name], further = self._definition(name)
                named += further
        return {**moved, "$defs": definitions} if definitions else moved

    def may_be(self, schema: Mapping[str, Any]) -> bool:
        """Whether there is any value by a part of the schema, as far as llguidance says. Looks so far and no further:
        what comes then is taken to be possible."""
        if self._left <= 0:
            return True
        written = json.dumps(self.alone(schema))
        self._left -= len(written)
        return _is_possible(written)

    def _definition(self, name: str) -> tuple[Any, list[str]]:
        """What a name stands for, and the names in it."""
        if name not in self._moved_targets:
            named: list[str] = []
            self._moved_targets[name] = self._moved(self._targets[int(name)], named), named
        return self._moved_targets[name]

    def _moved(self, schema: Any, named: list[str]) -> Any:
        """`named` gets the names of the definitions that are referred to."""
        if isinstance(schema, list):
            return [self._moved(one, named) for one in schema]
        if not isinstance(schema, Mapping):
            return schema
        moved: dict[str, Any] = {}
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                if (name := self._name(value)) is not None:
                    named.append(name)
                moved[key] = value if name is None else f"#/$defs/{name}"
            elif key in DATA:
                moved[key] = value
            elif key in GROUPS and isinstance(value, Mapping):
                if key not in _DEFINITIONS:
                    moved[key] = {name: self._moved(one, named) for name, one in value.items()}
            elif key not in _ADDRESSES:
                moved[key] = self._moved(value, named)
        return moved

    def _name(self, reference: str) -> str | None:
        """None for a reference that leads nowhere."""
        target = self._target(reference)
        if target is None:
            return None
        if id(target) not in self._names:
            self._names[id(target)] = str(len(self._targets))
            self._targets.append(target)
        return self._names[id(target)]

    def _target(self, reference: str) -> Any:
        own = self._root.get("$id")
        if isinstance(own, str) and own:
            reference = reference.removeprefix(own)
        if not reference.startswith(("#/", "#")) and reference:
            return self._addressed.get(reference)
        fragment = unquote(reference.removeprefix("#"))
        if fragment and not fragment.startswith("/"):
            return self._addressed.get(f"#{fragment}")
        target: Any = self._root
        for step in fragment.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list):
                target = target[int(step)] if step.isdecimal() and int(step) < len(target) else None
            else:
                target = target.get(step) if isinstance(target, Mapping) else None
        return target

    @cached_property
    def _addressed(self) -> dict[str, Any]:
        """What has an address of its own: anchors with `#` before them."""
        found: dict[str, Any] = {}
        for schema in _objects(self._root):
            for key, before in (("$id", ""), ("$anchor", "#")):
                if isinstance(address := schema.get(key), str):
                    found.setdefault(before + address, schema)
        return found


def _objects(schema: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield value
        if isinstance(value, Mapping | list):
            waiting += value.values() if isinstance(value, Mapping) else value
