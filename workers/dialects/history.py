"""The conversation so far in the form of chat templates, bent to what a template can show.

Messages follow Hugging Face's form (https://huggingface.co/docs/transformers/chat_extras): `content` is a string,
`tool_calls[].function.arguments` an object, reasoning is in `reasoning_content` (and `thinking`, as gpt-oss reads it).
What a template does with older reasoning is its own affair: it gets all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from workers.dialects.calls import Call
from workers.dialects.repair import repaired
from workers.dialects.toolbox import Toolbox
from workers.probe import Traits

Message = dict[str, Any]
Messages = list[Message]


@dataclass(frozen=True, slots=True)
class Form:
    """How a family writes what its template does not."""

    write_calls: Callable[[Sequence[Call]], str]
    declare: Callable[[Toolbox], str]
    call_id: Callable[[str], str] | None = None
    lone_preambles: bool = True  # words before a call may be a message of their own where the template needs it


def assistant(
    content: str = "", *, reasoning: str = "", calls: Sequence[tuple[str, str, dict[str, Any]]] = ()
) -> Message:
    """An assistant's message. `calls`: id, name and arguments of each."""
    message: Message = {"role": "assistant", "content": content}
    if reasoning:
        message["reasoning_content"] = message["thinking"] = reasoning
    if calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in calls
        ]
    return message


def output(call_id: str, name: str, content: str) -> Message:
    """What a call gave back."""
    return {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}


def prepare(
    messages: Messages, tools: Toolbox | None, traits: Traits, form: Form
) -> tuple[Messages, list[dict[str, Any]] | None]:
    """The messages and tools to render. Raises nothing: what a template cannot show is said in other words."""
    blocks = _blocks(messages)
    if not traits.several_calls:
        blocks = [_one_by_one(*block) for block in blocks]
    prepared = [dict(message) for message in chain.from_iterable(blocks)]
    offered = None
    if tools and traits.tools:
        offered = tools.for_template(type_lists=traits.type_lists)
    elif tools:
        prepared = _with_system(prepared, form.declare(tools))
    prepared = _roles(prepared, traits)
    shown: Messages = []
    for message in prepared:
        shown += _shown(message, traits, form)
    if not traits.system:
        shown = _system_to_user(shown)
    return repaired(shown) if traits.alternates else shown, offered


def _blocks(messages: Messages) -> list[Messages]:
    """Every message, behind it what its calls gave back, whatever was said in between. Outputs are in the order of
    their calls: many templates tell them by their places alone."""
    homes: dict[str, Messages] = {}  # by call id, which a later turn may use again: a message and its outputs
    blocks: list[Messages] = []
    for message in messages:
        if message["role"] == "tool" and (home := homes.get(message["tool_call_id"])):
            home.append(message)
            continue
        blocks.append([message])
        homes |= dict.fromkeys((call["id"] for call in message.get("tool_calls", ())), blocks[-1])
    return [_in_order(*block) for block in blocks]


def _in_order(message: Message, *outputs: Message) -> Messages:
    places = {call["id"]: place for place, call in enumerate(message.get("tool_calls", ()))}
    return [message, *sorted(outputs, key=lambda output: places[output["tool_call_id"]])]


def _one_by_one(message: Message, *outputs: Message) -> Messages:
    """Each call in a message of its own, its output behind it."""
    calls = message.get("tool_calls", ())
    if len(calls) < 2:
        return [message, *outputs]
    given = {output["tool_call_id"]: output for output in outputs}
    result: Messages = []
    for index, call in enumerate(calls):
        result.append({**(message if index == 0 else assistant()), "tool_calls": [call]})
        if call["id"] in given:
            result.append(given[call["id"]])
    return result


def _with_system(messages: Messages, text: str) -> Messages:
    if messages and messages[0]["role"] in ("system", "developer"):
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _roles(messages: Messages, traits: Traits) -> Messages:
    """One system message at the start, as all templates expect it; later ones become the user's where they must."""
    for message in messages:
        if message["role"] == "developer" and not traits.developer:
            message["role"] = "system"
    leading = 0
    while leading < len(messages) and messages[leading]["role"] in ("system", "developer"):
        leading += 1
    merged: Messages = []
    if leading:
        role = messages[0]["role"]
        merged = [{"role": role, "content": "\n\n".join(message["content"] for message in messages[:leading])}]
    for message in messages[leading:]:
        if message["role"] in ("system", "developer") and not traits.late_system:
            message = {"role": "user", "content": message["content"]}
        merged.append(message)
    return merged


def _shown(message: Message, traits: Traits, form: Form) -> Messages:
    if message["role"] == "tool":
        if not traits.outputs:
            return [{"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}]
        return [{**message, "tool_call_id": _call_id(message["tool_call_id"], form)}]
    if not (calls := message.get("tool_calls")):
        return [message]
    if not traits.calls:
        written = form.write_calls([Call(call["function"]["name"], call["function"]["arguments"]) for call in calls])
        plain = {key: value for key, value in message.items() if key != "tool_calls"}
        return [{**plain, "content": f"{message['content']}\n{written}" if message["content"] else written}]
    before: Messages = []
    content: str | None = message["content"]
    if content and not traits.content_with_calls:
        before = [{"role": "assistant", "content": content}] if form.lone_preambles and not traits.alternates else []
        content = ""
    shaped = [
        {
            **call,
            "id": _call_id(call["id"], form),
            "function": {
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"]
                if traits.object_arguments
                else json.dumps(call["function"]["arguments"], ensure_ascii=False),
            },
        }
        for call in calls
    ]
    return [*before, {**message, "content": content or (None if traits.null_content else ""), "tool_calls": shaped}]


def _call_id(call_id: str, form: Form) -> str:
    return form.call_id(call_id) if form.call_id else call_id


def _system_to_user(messages: Messages) -> Messages:
    if messages and messages[0]["role"] == "system":
        text = messages[0]["content"]
        if len(messages) > 1 and messages[1]["role"] == "user":
            return [{**messages[1], "content": f"{text}\n\n{messages[1]['content']}"}, *messages[2:]]
        return [{"role": "user", "content": text}, *messages[1:]]
    return messages
