"""Strict checks of the wire: framing, order, fields, against the types of `openai` and of Open Responses."""

from __future__ import annotations

import json
from typing import Any

import openresponses_types.types as open_responses
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

Event = dict[str, Any]

_openai_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_openai_response: TypeAdapter[Response] = TypeAdapter(Response)

TERMINAL = ("response.completed", "response.incomplete", "response.failed")
OPENAI_ONLY = ("response.compaction.compacting", "response.custom_tool_call_input.", "response.mcp_")
RENAMED = {
    "response.reasoning_text.delta": "response.reasoning.delta",
    "response.reasoning_text.done": "response.reasoning.done",
}
"""Where Open Responses calls the same event otherwise."""


def parse_sse(body: bytes) -> list[Event]:
    """The events of a finished stream; asserts the framing: `event`, `data`, blank line, `[DONE]` last."""
    assert body.endswith(b"data: [DONE]\n\n"), body[-200:]
    events = []
    for frame in body.removesuffix(b"data: [DONE]\n\n").decode().split("\n\n")[:-1]:
        lines = [line for line in frame.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        assert len(lines) == 2, frame
        assert lines[0].startswith("event: "), frame
        assert lines[1].startswith("data: "), frame
        event = json.loads(lines[1][6:])
        assert event["type"] == lines[0][7:]
        events.append(event)
    return events


def check_stream(events: list[Event], first: int = 0) -> Event:
    """Asserts everything that must hold of one whole stream; returns the final response."""
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(first, first + len(events))), numbers
    assert [event["type"] for event in events if event["type"] in TERMINAL] == [events[-1]["type"]]
    for event in events:
        check_event(event)
    if first == 0:
        assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
        check_items(events)
    final: Event = events[-1]["response"]
    check_response(final)
    return final


def check_event(event: Event) -> None:
    """Validates one event against both sets of types, strictly."""
    _openai_event.validate_python(event, strict=True)
    renamed = {**event, "type": RENAMED.get(event["type"], event["type"])}
    if renamed["type"].startswith(OPENAI_ONLY) or _beyond_open_responses(event):
        return
    kind = _OPEN_RESPONSES.get(renamed["type"])
    assert kind is not None, f"no Open Responses type for {renamed['type']}"
    kind.model_validate_json(json.dumps(renamed))


def _said(item: Event) -> str:
    """What the deltas of an item add up to."""
    if item["type"] == "function_call":
        return str(item["arguments"])
    if item["type"] == "custom_tool_call":
        return str(item["input"])
    return "".join(part["text"] for part in item.get("content", []))


def check_response(response: Event) -> None:
    """Validates a Response object against both sets of types, strictly."""
    _openai_response.validate_python(response, strict=True)
    if not _beyond_open_responses({"response": response}):
        open_responses.ResponseResource.model_validate_json(json.dumps(response))


def _beyond_open_responses(event: Event) -> bool:
    """Whether an event holds what Open Responses knows no form for: tools that are no functions, and their calls."""
    response = event.get("response", {})
    items = [*response.get("output", []), event.get("item", {})]
    kinds = {tool["type"] for tool in response.get("tools", [])} | {item.get("type") for item in items}
    unknown = {"custom", "namespace", "custom_tool_call", "mcp", *WAITING, "mcp_approval_request"}
    return bool(kinds & unknown or any(item.get("namespace") for item in items))


WAITING = ("mcp_list_tools", "mcp_call")  # items that others may follow before they are done


def check_items(events: list[Event]) -> None:
    """Asserts the order within items, and that deltas, done events and the final output say the same."""
    done: dict[int, Event] = {}
    begun: dict[int, Event] = {}
    told: dict[int, list[str]] = {}
    text = ""
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert all(begun[index]["type"] in WAITING for index in begun.keys() - done.keys())
            assert event["output_index"] == len(begun)
            begun[event["output_index"]], text = event["item"], ""
            told[event["output_index"]] = ["added"]
        elif kind == "output_item.done":
            index, item = event["output_index"], event["item"]
            assert index not in done
            assert (item["id"], item["type"]) == (begun[index]["id"], begun[index]["type"])
            if item["type"] in WAITING:
                check_remote(item, [*told[index], "done"])
            else:
                assert index == len(begun) - 1
                assert _said(item) == text
            done[index] = item
        elif kind == "compaction.compacting":
            assert begun.keys() == done.keys()
        elif "item_id" in event:
            index = event["output_index"]
            assert index not in done
            assert event["item_id"] == begun[index]["id"]
            if kind.startswith("mcp_"):
                told[index].append(kind if not kind.endswith(".delta") else event["delta"])
                continue
            assert index == len(begun) - 1
            if "summary" in kind:
                continue
            if kind.endswith(".delta"):
                assert event["delta"]
                text += event["delta"]
            elif kind.endswith("_text.done"):
                assert event["text"] == text
            elif kind in ("function_call_arguments.done", "custom_tool_call_input.done"):
                assert event.get("arguments", event.get("input")) == text
            elif kind == "content_part.done":
                assert event["part"]["text"] == text
    assert begun.keys() == done.keys()
    assert events[-1]["response"]["output"] == [done[index] for index in range(len(done))]


def check_remote(item: Event, told: list[str]) -> None:
    """Asserts the events of a remote server's item: `told` holds their kinds, and the deltas themselves."""
    kind = item["type"]
    names = [name for name in told if name in ("added", "done") or name.startswith("mcp_")]
    ended = {True: "failed", False: "completed"}[item.get("error") is not None]
    cut = item.get("status") == "incomplete" or (kind == "mcp_list_tools" and f"mcp_list_tools.{ended}" not in names)
    ending = [] if cut else [f"{kind}.{ended}"]
    if kind == "mcp_list_tools":
        assert told == ["added", "mcp_list_tools.in_progress", *ending, "done"], told
        return
    assert names == ["added", "mcp_call.in_progress", "mcp_call_arguments.done", *ending, "done"], told
    assert "".join(delta for delta in told if delta not in names) == item["arguments"]
    assert item["status"] == ("incomplete" if cut else ended)


def text_of(response: Event) -> str:
    """All text of all messages."""
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def reasoning_of(response: Event) -> str:
    return "".join(
        part["text"] for item in response["output"] if item["type"] == "reasoning" for part in item["content"]
    )


def deltas(events: list[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def _event_types() -> dict[str, type[BaseModel]]:
    """Open Responses' event classes by the value of their `type`."""
    found: dict[str, type[BaseModel]] = {}
    for name, value in vars(open_responses).items():
        if name.endswith("StreamingEvent") and isinstance(value, type):
            annotation = value.model_fields["type"].annotation
            for member in annotation:  # type: ignore[union-attr]
                found[str(getattr(member, "value", member))] = value
    return found


_OPEN_RESPONSES = _event_types()
