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
        if isinstance(item, FunctionCall | CustomToolCall) and item.status != "incomplete"
    }


def check_calls(items: Sequence[Item], waiting: dict[str, str]) -> None:
    """`waiting`: the calls of the parent. Raises ApiError for an orphan, a duplicate, or a call left without output."""
    waiting = dict(waiting)
    known, cut = set(waiting), set[str]()
    for position, item in enumerate(items):
        where = f"input[{position}].call_id"
        if isinstance(item, FunctionCall | CustomToolCall):
            if item.call_id in known:
                raise _wrong(where, f"Duplicate call with call_id {item.call_id}.")
            known.add(item.call_id)
            waiting |= (opened := open_calls([item]))
            cut |= {item.call_id} - opened.keys()
        elif isinstance(item, FunctionCallOutput | CustomToolCallOutput):
            kind = "function_call_output" if isinstance(item, FunctionCallOutput) else "custom_tool_call_output"
            if item.call_id not in waiting:
                raise _wrong(where, f"{_orphaned(item.call_id, known, cut)} {kind} with call_id {item.call_id}.")
            if waiting[item.call_id] != kind:
                raise _wrong(where, f"The call {item.call_id} waits for a {waiting[item.call_id]}, not a {kind}.")
            del waiting[item.call_id]
    if waiting:
        missing = ", ".join(waiting)
        raise _wrong("input", f"No tool output found for function call {missing}.")


def _orphaned(call_id: str, known: set[str], cut: set[str]) -> str:
    if call_id in cut:
        return "The call is incomplete and takes no output:"
    return "A second output for" if call_id in known else "No tool call found for"


def _wrong(where: str, message: str) -> ApiError:
    return ApiError(400, message, param=where, code="invalid_value")
