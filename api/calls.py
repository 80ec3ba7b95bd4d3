"""Calls and their outputs belong together: every output has its call before it, every call its output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from api.errors import ApiError
from shared.schema.items import CustomToolCall, CustomToolCallOutput, FunctionCall, FunctionCallOutput, Item, OutputItem


def open_calls(output: Iterable[OutputItem]) -> dict[str, str]:
    """The calls a response ended with, by call_id: what kind of output each waits for. A call that was cut waits for
    none."""
    return {
        item.call_id: "function_call_output" if isinstance(item, FunctionCall) else "custom_tool_call_output"
        for item in output
        if isinstance(item, FunctionCall | CustomToolCall) and getattr(item, "status", "completed") == "completed"
    }


def check_calls(items: Sequence[Item], waiting: dict[str, str]) -> None:
    """`waiting`: the calls of the parent. Raises ApiError for an orphan, a duplicate, or a call left without output."""
    waiting = dict(waiting)
    known = set(waiting)
    for position, item in enumerate(items):
        where = f"input[{position}].call_id"
        if isinstance(item, FunctionCall | CustomToolCall):
            if item.call_id in known:
                raise _wrong(where, f"Duplicate call with call_id {item.call_id}.")
            known.add(item.call_id)
            waiting |= open_calls([item])
        elif isinstance(item, FunctionCallOutput | CustomToolCallOutput):
            kind = "function_call_output" if isinstance(item, FunctionCallOutput) else "custom_tool_call_output"
            if item.call_id not in waiting:
                reason = "A second output for" if item.call_id in known else "No tool call found for"
                raise _wrong(where, f"{reason} {kind} with call_id {item.call_id}.")
            if waiting[item.call_id] != kind:
                raise _wrong(where, f"The call {item.call_id} waits for a {waiting[item.call_id]}, not a {kind}.")
            del waiting[item.call_id]
    if waiting:
        missing = ", ".join(waiting)
        raise _wrong("input", f"No tool output found for function call {missing}.")


def _wrong(where: str, message: str) -> ApiError:
    return ApiError(400, message, param=where, code="invalid_value")
