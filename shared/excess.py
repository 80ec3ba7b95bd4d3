"""What is short to write and huge to follow: repeated repetitions in regexes, multiples of large numbers, and numbers
that are too large themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from math import inf, lcm, nextafter
from typing import Any, TypeGuard

MAX_REGEX_SIZE = 100_000  # characters of a regular expression with its repetitions written out
MAX_MULTIPLE = 20_000  # without its factors of ten: an automaton counts up to it; 10^6 would take seconds and 500 MB
_MULTIPLES = f"numbers up to {MAX_MULTIPLE} (times a power of ten) can be followed"
MAX_PATTERNS = 64  # of names in one object; 400 take llguidance a minute
_HUGE = 10**9
LARGEST = 2**63 - 1024  # the largest double that 64 bits hold
LOWER, UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")

_REGEX = re.compile(
    r"""(?P<atom>\[\^?\]?(?:[^\]\\]|\\.)*\]|\\[pPxu]\{[^}]*\}|\\.|\\)
      | (?P<open>\((?:\?(?:P?<\w+>|[a-zA-Z-]*:|[a-zA-Z-]+(?=\))))?)
      | (?P<close>\))
      | (?P<count>\{(?P<least>\d+)(?P<to>,(?P<most>\d*))?\})
      | (?P<operator>[*+?|])
      | (?P<char>.)""",
    re.VERBOSE | re.DOTALL,
)
DATA = frozenset({"const", "enum", "default", "examples"})  # keywords whose values are no schemas
GROUPS = ("properties", "patternProperties", "$defs", "definitions")  # of schemas by name
_MERGING = ("allOf", "anyOf", "oneOf", "$ref")


def regex_size(regex: str) -> int:
    """How long a regular expression is with its repetitions written out; 10^9 at most. Linear in its length."""
    sizes, last = [0], [0]  # of each open group: of all in it, of the last thing in it
    for match in _REGEX.finditer(regex):
        kind = match.lastgroup
        if kind == "open":
            sizes.append(0)
            last.append(0)
        elif kind == "close" and len(sizes) > 1:
            last.pop()
            last[-1] = sizes.pop()
            sizes[-1] += last[-1]
        elif kind == "count":
            times = int((match["most"] or match["least"])[:10])
            grown = min(last[-1] * max(times, 1), _HUGE)
            sizes[-1] += grown - last[-1]
            last[-1] = grown
        elif kind != "operator":
            sizes[-1] += 1
            last[-1] = 1
        sizes[-1] = min(sizes[-1], _HUGE)
    return min(sum(sizes), _HUGE)


def excess(schema: Mapping[str, Any]) -> str | None:
    """What of a JSON schema is too large to be followed, with the keyword; None where all can be."""
    for part in _schemas(schema):
        patterns = part.get("patternProperties")
        if isinstance(patterns, Mapping) and len(patterns) > MAX_PATTERNS:
            return f"patternProperties: {len(patterns)} patterns, {MAX_PATTERNS} are possible"
        for keyword, regex in [
            ("pattern", part.get("pattern")),
            *(("patternProperties", regex) for regex in (patterns if isinstance(patterns, Mapping) else ())),
        ]:
            if isinstance(regex, str) and (problem := regex_excess(regex)) is not None:
                return f"{keyword}: {problem}"
        if _step(part.get("multipleOf")) > MAX_MULTIPLE:
            return f"multipleOf: {_MULTIPLES}"
        if (problem := _number_excess(part)) is not None:
            return problem
    if multiples_may_meet(schema, ("allOf",)):
        return f"multipleOf: {_MULTIPLES}, where there is an allOf all of them together"
    return None


def multiples_may_meet(schema: Mapping[str, Any], keywords: Sequence[str] = _MERGING) -> bool:
    """Whether numbers might have to be multiples of more than can be followed, as keywords merge parts of a schema."""
    merged, merging = 1, False
    for part in _schemas(schema):
        merging = merging or any(keyword in part for keyword in keywords)
        merged = min(lcm(merged, _step(part.get("multipleOf"))), _HUGE)
    return merging and merged > MAX_MULTIPLE


def kept_bounds(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds of a schema as doubles hold them, none wider than it was: llguidance (1.9) reads them as such, takes
    those beyond 64 bits for others, and ends the process over some of them."""
    kept: dict[str, Any] = {}
    for keyword, upward in (*((word, True) for word in LOWER), *((word, False) for word in UPPER)):
        bound = schema.get(keyword)
        if not is_number(bound):
            continue
        if abs(bound) > LARGEST:
            kept[keyword] = LARGEST if bound > 0 else -LARGEST
        elif isinstance(bound, int) and (near := int(float(bound))) != bound:
            inside = near > bound if upward else near < bound
            kept[keyword] = near if inside else int(nextafter(near, inf if upward else -inf))
    return kept


def _number_excess(part: Mapping[str, Any]) -> str | None:
    """What of a schema's numbers nothing can be held to."""
    for keywords, sign in ((UPPER, -1), (LOWER, 1)):
        for keyword in keywords:
            bound = part.get(keyword)
            if is_number(bound) and bound * sign > LARGEST:
                return f"{keyword}: numbers from -{LARGEST} to {LARGEST} are possible"
    for keyword in ("const", "enum"):
        waiting = [part[keyword]] if keyword in part else []
        while waiting:
            value = waiting.pop()
            if isinstance(value, Mapping):
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
            elif is_number(value) and (abs(value) > LARGEST or not _is_written_out(value)):
                return f"{keyword}: {str(value)[:40]} has more digits than a number can be kept with; a string can"
    return None


def _is_written_out(number: float) -> bool:
    """Whether llguidance writes a number as it is: it writes the digits that tell doubles apart, and zeros."""
    return not isinstance(number, int) or int(Decimal(repr(float(number)))) == number


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a JSON value is a number; Python's booleans are integers too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def regex_excess(regex: str) -> str | None:
    """Why a regular expression is too large; None where it is not."""
    if (size := regex_size(regex)) <= MAX_REGEX_SIZE:
        return None
    written = "a billion or more" if size == _HUGE else str(size)
    return f"with its repetitions written out it has {written} characters; at most {MAX_REGEX_SIZE} are possible"


def _step(multiple: Any) -> int:
    """The digits of a number that others are multiples of, without tens."""
    if not is_number(multiple):
        return 1
    try:
        digits = int("".join(map(str, Decimal(str(multiple)).as_tuple().digits)) or 0)
    except (InvalidOperation, ValueError):
        return _HUGE
    while digits and digits % 10 == 0:
        digits //= 10
    return min(max(digits, 1), _HUGE)


def _schemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every object in a schema that may be one."""
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield value
            for key, inner in value.items():
                if key in GROUPS and isinstance(inner, Mapping):
                    waiting += inner.values()
                elif key not in DATA:
                    waiting.append(inner)
        elif isinstance(value, list):
            waiting += value
