"""What a chat template can show, found by rendering small conversations with it.

llama.cpp learns templates the same way (common/chat-auto-parser*). It keeps wrong guesses out: a template that was
edited, as many in GGUF files are, is judged by what it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.template import ChatTemplate, TemplateError

_MARK = "probe-mark-5417"
_OTHER = "probe-mark-8803"
_CITY = {"city": {"type": "string", "description": "A city."}}
_SEVERAL_TYPES = {
    "day": {"type": ["string", "null"], "description": "A day."},
    "days": {"type": ["array", "null"], "items": {"type": ["integer", "null"]}, "description": "Days."},
    "none": {"type": "null", "description": "Nothing."},
    "more": {"type": "object", "additionalProperties": {"type": ["string", "null"]}, "description": "More."},
}
_USER = {"role": "user", "content": "Hello"}


@dataclass(frozen=True, slots=True)
class Traits:
    """What a template does with a conversation."""

    system: bool = True  # shows a system message at the start
    late_system: bool = True  # also between others, beside the one at the start
    developer: bool = False  # knows the role `developer`
    alternates: bool = False  # refuses two messages of the user in a row
    tools: bool = True  # tells the model of `tools`
    type_lists: bool = True  # also of arguments that may be of several types, or null
    calls: bool = True  # shows `tool_calls`
    outputs: bool = True  # shows messages of the role `tool`
    several_calls: bool = True  # shows more than one call of a message, or leaves calls to the content
    object_arguments: bool = True  # takes a call's arguments as an object, else as JSON text
    null_content: bool = False  # shows calls best where `content` is null
    content_with_calls: bool = True  # shows both, the content first


def probe(template: ChatTemplate, variables: dict[str, Any]) -> Traits:
    """The traits of a template; `variables` as a request gives them."""

    def render(*messages: dict[str, Any], tools: bool = False, properties: dict[str, Any] = _CITY) -> str:
        offered = {"tools": [_tool(properties)]} if tools else {}
        try:
            return template.render([dict(message) for message in messages], {**variables, **offered})
        except TemplateError:
            return ""

    def shows(*messages: dict[str, Any], marks: tuple[str, ...] = (_MARK,), tools: bool = False) -> bool:
        """Whether the marks are there, in this order."""
        places = [render(*messages, tools=tools).find(mark) for mark in marks]
        return places[0] >= 0 and places == sorted(places)

    marked_user = {"role": "user", "content": _MARK}
    system = {"role": "system", "content": _MARK}
    answer = {"role": "assistant", "content": "Hi"}
    calls, null_content, object_arguments = _call_form(render)
    several = _assistant(calls=(_MARK, _OTHER), null=null_content, objects=object_arguments)
    given = [_output("abcdefgh0"), _output("abcdefgh1")]
    one = _assistant(calls=(_MARK,), null=null_content, objects=object_arguments)
    wordy = {**one, "content": _OTHER}
    return Traits(
        system=shows(system, _USER),
        late_system=shows(system, _USER, answer, {**system, "content": _OTHER}, _USER, marks=(_MARK, _OTHER)),
        developer="developer" in template.source and shows({**system, "role": "developer"}, _USER),
        alternates=not shows(_USER, marked_user),
        tools=shows(_USER, marks=("probe_tool", "city"), tools=True),
        type_lists=bool(render(_USER, tools=True, properties={**_CITY, **_SEVERAL_TYPES})),
        calls=calls,
        outputs=shows(_USER, {**one} if calls else answer, _output("abcdefgh0", _OTHER), marks=(_OTHER,), tools=True),
        several_calls=not calls or shows(_USER, several, *given, marks=(_MARK, _OTHER), tools=True),
        object_arguments=object_arguments,
        null_content=null_content,
        content_with_calls=calls and shows(_USER, wordy, _output("abcdefgh0"), marks=(_OTHER, _MARK), tools=True),
    )


def _tool(properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    return {
        "type": "function",
        "function": {"name": "probe_tool", "description": "A probe.", "parameters": parameters},
    }


def _call_form(render: Callable[..., str]) -> tuple[bool, bool, bool]:
    """Whether calls are shown, whether best with null content, and whether arguments may be an object.

    Some templates take empty content for an answer, which null content spares: their text is shorter with it.
    """
    found: list[tuple[int, bool, bool]] = []
    for null in (False, True):
        for objects in (True, False):
            text = render(
                _USER, _assistant(calls=(_MARK,), null=null, objects=objects), _output("abcdefgh0"), tools=True
            )
            if _MARK in text and "probe_tool" in text and '\\"city' not in text:
                found.append((len(text), null, objects))
                break
    if not found:
        return False, False, True
    _, null, objects = min(found)
    return True, null, objects


def _assistant(*, calls: tuple[str, ...], null: bool, objects: bool) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None if null else "",
        "tool_calls": [
            {
                "id": f"abcdefgh{index}",
                "type": "function",
                "function": {"name": "probe_tool", "arguments": {"city": city} if objects else f'{{"city": "{city}"}}'},
            }
            for index, city in enumerate(calls)
        ],
    }


def _output(call_id: str, content: str = "sunny") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "name": "probe_tool", "content": content}
