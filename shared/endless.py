"""JSON schemas that no output can ever fulfil, because what they require leads back to themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any


def is_endless(schema: Mapping[str, Any]) -> bool:
    """Whether every value by the schema would have no end, as by `{"$ref": "#"}`. Linear in the size of the schema.

    References that are not pointers into the schema are taken to have an end.
    """
    return "$ref" in str(schema) and not _Endings(schema).ends(schema)


class _Endings:
    """Which references lead to a schema of which some value ends: the least fixed point."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._ending: set[str] = set()
        self._due: list[str] = []  # names to look at, again or for the first time
        self._waiting: defaultdict[str, set[str]] = defaultdict(set)  # who has to be looked at when a name ends
        self._asking = ""

    def ends(self, schema: Any) -> bool:
        if self._look(schema):
            return True
        while self._due:
            self._asking = self._due.pop()
            if self._asking not in self._ending and self._look(self._target(self._asking)):
                self._ending.add(self._asking)
                self._due += self._waiting[self._asking] - {""}
        return self._look(schema)

    def _look(self, schema: Any) -> bool:
        """Whether a value by the schema ends, as far as that is known."""
        if not isinstance(schema, Mapping):
            return True
        if isinstance(name := schema.get("$ref"), str) and name[:1] == "#" and name not in self._ending:
            if name not in self._waiting:
                self._due.append(name)
            self._waiting[name].add(self._asking)
            return False
        if "const" in schema or "enum" in schema:
            return True
        return self._options(schema) and (self._kinds(schema) or self._object(schema) or self._array(schema))

    def _options(self, schema: Mapping[str, Any]) -> bool:
        for keyword in ("anyOf", "oneOf"):
            if isinstance(given := schema.get(keyword), list) and given and not any(self._look(one) for one in given):
                return False
        return all(self._look(one) for one in given) if isinstance(given := schema.get("allOf"), list) else True

    def _kinds(self, schema: Mapping[str, Any]) -> bool:
        """Whether a value may be neither an object nor an array."""
        kind = schema.get("type", "null")
        kinds = {kind} if isinstance(kind, str) else set(map(str, kind)) if isinstance(kind, list) else set()
        return bool(kinds - {"object", "array"})

    def _object(self, schema: Mapping[str, Any]) -> bool:
        if not _may_be(schema, "object"):
            return False
        properties, required = schema.get("properties"), schema.get("required")
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            return True
        return all(self._look(properties.get(name)) for name in required if isinstance(name, str))

    def _array(self, schema: Mapping[str, Any]) -> bool:
        if not _may_be(schema, "array"):
            return False
        least, first = schema.get("minItems"), schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        least = least if isinstance(least, int) else 0
        needed = [*first[:least], *([schema.get("items")] if least > len(first) else [])]
        return all(self._look(one) for one in needed)

    def _target(self, name: str) -> Any:
        target: Any = self._root
        for step in name[1:].strip("/").split("/") if name[1:].startswith("/") else ():
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping):
                target = target.get(step)
            elif isinstance(target, list) and step.isdecimal() and int(step) < len(target):
                target = target[int(step)]
            else:
                return None
        return None if name != "#" and not name.startswith("#/") else target


def _may_be(schema: Mapping[str, Any], kind: str) -> bool:
    given = schema.get("type", kind)
    return kind in given if isinstance(given, list) else given == kind
