"""Hypothesis strategies for bodies of requests: valid ones, spoilt ones, and what is no request at all."""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from shared.data_urls import write_data_url
from tests.pictures import picture
from tests.stack import MODEL

LONE_SURROGATES = st.characters(categories=["Cs"])
ODD_TEXT = st.one_of(
    st.text(st.one_of(st.characters(), LONE_SURROGATES, st.sampled_from("\0\x1b\r\n\u2028`$[]{}.\"'\\")), max_size=20),
    st.sampled_from(["", "\0", "x" * 300, "x" * 3000, "NaN", "[...]", "$.input", "a` - at `$.b", "resp_", "é"]),
)
NUMBERS = st.one_of(
    st.integers(-3, 30),
    st.sampled_from([2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**40, 1e308, -0.0, 5e-324]),
    st.floats(),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, ODD_TEXT)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(ODD_TEXT, inner, max_size=4)),
    max_leaves=12,
)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


TEXTS = st.sampled_from(["Hi", "", "\0", "日本語 🙂", "<|im_end|>", "x" * 1000])


def _is_text(text: str) -> bool:
    return bool(text) and "\0" not in text


INPUT_PARTS = st.one_of(
    st.builds(lambda text: {"type": "input_text", "text": text}, TEXTS),
    st.builds(
        lambda text: {"type": "input_file", "filename": "f", "file_data": "data:," + quote(text)},
        TEXTS.filter(_is_text),
    ),
    st.just({"type": "input_image", "image_url": write_data_url(picture(8, 8)), "detail": "auto"}),
)
PARTS = {
    "user": INPUT_PARTS,
    "system": st.builds(lambda text: {"type": "input_text", "text": text}, TEXTS),
    "assistant": st.one_of(
        st.builds(lambda text: {"type": "output_text", "text": text, "annotations": []}, TEXTS),
        st.builds(lambda text: {"type": "refusal", "refusal": text}, TEXTS),
    ),
}


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    role = draw(st.sampled_from(["user", "assistant", "system", "developer"]))
    parts = PARTS.get(role, PARTS["system"])
    more = draw(_some(type=st.just("message"), id=st.just("msg_1"), status=st.just("completed")))
    return {"role": role, "content": draw(st.one_of(TEXTS, st.lists(parts, max_size=3))), **more}


def _reasoning(summary: str, content: str) -> dict[str, Any]:
    return {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": summary}],
        "content": [{"type": "reasoning_text", "text": content}],
    }


def _called(kind: str, call_id: str, text: str) -> list[dict[str, Any]]:
    """A call with its output."""
    given = {"arguments": json.dumps({"a": text})} if kind == "function_call" else {"input": text}
    return [
        {"type": kind, "call_id": call_id, "name": "f", **given},
        {"type": kind + "_output", "call_id": call_id, "output": text},
    ]


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    single = st.one_of(messages(), st.builds(_reasoning, TEXTS, TEXTS))
    items = draw(st.lists(single, min_size=1, max_size=4))
    if draw(st.booleans()):
        items += _called(draw(st.sampled_from(["function_call", "custom_tool_call"])), "call_1", draw(TEXTS))
    return items


OBJECTS = st.sampled_from(
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
        {"type": "object", "properties": {"n": {"enum": [1, 2, None]}}, "additionalProperties": False},
    ]
)
SCHEMAS = OBJECTS | st.just({"$defs": {"x": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/x"}})
TOOLS = st.one_of(
    st.builds(lambda schema: {"type": "function", "name": "f", "parameters": schema, "strict": False}, OBJECTS),
    st.just({"type": "custom", "name": "f", "format": {"type": "text"}}),
    st.just({"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}),
    st.just({"type": "web_search"}),
)
FORMATS = st.one_of(
    st.just({"type": "text"}),
    st.just({"type": "json_object"}),
    st.builds(lambda schema: {"type": "json_schema", "name": "s", "schema": schema}, SCHEMAS),
)
INPUTS = st.one_of(TEXTS, histories())
VALID = st.builds(
    lambda text, more: {"model": MODEL, "input": text, **more},
    INPUTS,
    _some(
        instructions=TEXTS,
        stream=st.booleans(),
        stream_options=_some(include_obfuscation=st.booleans()),
        store=st.just(True),
        background=st.booleans(),
        metadata=st.dictionaries(st.text("ab c", max_size=3), st.text("xy", max_size=3), max_size=3),
        max_output_tokens=st.integers(1, 2**53 - 1),
        max_tool_calls=st.integers(1, 9),
        parallel_tool_calls=st.booleans(),
        reasoning=_some(effort=st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"])),
        temperature=st.floats(0, 2),
        top_p=st.floats(0, 1),
        top_logprobs=st.integers(0, 20),
        text=_some(format=FORMATS, verbosity=st.sampled_from(["low", "medium", "high"])),
        tools=st.lists(TOOLS, max_size=1),
        tool_choice=st.sampled_from(["auto", "none"]),
        truncation=st.sampled_from(["auto", "disabled"]),
        include=st.sampled_from([[], ["message.output_text.logprobs"], ["web_search_call.results"]]),
        service_tier=st.sampled_from(["auto", "default"]),
        prompt_cache_key=TEXTS.filter(lambda text: len(text) < 200),
        safety_identifier=st.just("s"),
        user=st.just("u"),
    ),
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in _places(child, (*path, key)))]


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A valid body in which one to three places are something else, missing, or one more."""
    body = copy.deepcopy(draw(VALID))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_places(body)[1:] or [()]))
        if not place:
            return draw(JSON)
        holder = body
        for key in place[:-1]:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if change == "replace":
            holder[place[-1]] = draw(JSON)
        elif change == "remove":
            del holder[place[-1]]
        elif isinstance(holder, dict):
            holder[draw(ODD_TEXT)] = draw(JSON)
        else:
            holder.append(draw(JSON))
    return body


def encode(value: Any, *, escaped: bool = True) -> bytes:
    """JSON as Python's json writes it: NaN and Infinity, lone surrogates as escapes or as bytes that are no UTF-8."""
    return json.dumps(value, ensure_ascii=escaped).encode(errors="surrogatepass")


@st.composite
def twice(draw: st.DrawFn) -> bytes:
    """A body that has some of its keys two times."""
    first, second = draw(VALID), draw(spoilt())
    if not isinstance(second, dict) or not second:
        return encode(second)
    return encode(first)[:-1] + b", " + encode(second)[1:]


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """The bytes of a valid body with some cut out, put in or changed."""
    data = bytearray(encode(draw(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
    return bytes(data)


BRACKETS = [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"content":', b"}]"), (b'{"type": "array", "items":', b"}")]
WRAPPED = [
    b"%b",
    b"[%b]",
    b'[{"role": "user", "content": "Hi", "x": %b}]',
    b'[{"type": "function", "name": "f", "parameters": %b}]',
    b'{"format": {"type": "json_schema", "name": "s", "schema": %b}}',
    b'{"type": "allowed_tools", "mode": "auto", "tools": [{"x": %b}]}',
]


class Huge(bytes):
    """Bytes that are shown by their beginning."""

    def __repr__(self) -> str:
        return f"{self[:200]!r}... ({len(self)} bytes)"


@st.composite
def deep(draw: st.DrawFn) -> bytes:
    """A body in which something is nested deeply."""
    opening, closing = draw(st.sampled_from(BRACKETS))
    levels = draw(st.sampled_from([10, 63, 65, 500, 5000, 100_000]))
    value = opening * levels + b"1" + closing * draw(st.sampled_from([levels, 0]))
    field = draw(st.sampled_from([b"input", b"tools", b"metadata", b"prompt", b"text", b"tool_choice", b"x"]))
    wrapped = draw(st.sampled_from(WRAPPED)) % value
    return Huge(b'{"model": "%b", "input": "Hi", "%b": %b}' % (MODEL.encode(), field, wrapped))


@st.composite
def long(draw: st.DrawFn) -> bytes:
    """A body with a list, an object or a text that is far too long."""
    count = draw(st.sampled_from([1000, 5000, 50_000]))
    values: dict[str, Any] = {
        "items": [{"role": "user", "content": ""}] * count,
        "parts": [{"role": "user", "content": [{"type": "input_text", "text": ""}] * count}],
        "pairs": {str(number): "" for number in range(count)},
        "text": "x" * count,
        "numbers": [0] * count,
    }
    value = values[draw(st.sampled_from(sorted(values)))]
    field = draw(st.sampled_from(["input", "tools", "metadata", "include", "instructions", "model", "user"]))
    return Huge(encode({"model": MODEL, "input": "Hi", field: value}))


CONVERSATIONS = _some(items=histories(), metadata=st.dictionaries(st.text("ab ", max_size=3), TEXTS, max_size=3))
BODIES = st.one_of(
    st.builds(encode, CONVERSATIONS),
    st.builds(encode, VALID),
    st.builds(encode, spoilt()),
    st.builds(encode, spoilt()),
    st.builds(lambda value: encode(value, escaped=False), spoilt()),
    st.builds(encode, JSON),
    twice(),
    torn(),
    st.binary(max_size=200),
)
EXTREMES = st.one_of(deep(), long())
