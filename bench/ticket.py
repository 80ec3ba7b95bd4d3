"""The answer that constrained requests are held to: a support ticket of texts, lists, choices and numbers.

Every text has a shortest and a longest length, so that also a model that knows nothing comes to an end.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

Line = Annotated[str, Meta(min_length=21, max_length=42)]
Words = Annotated[str, Meta(min_length=140, max_length=210)]


class Person(Struct, forbid_unknown_fields=True):
    """Somebody the ticket is about."""

    name: Line
    role: Literal["customer", "engineer", "manager"]
    reachable: bool


class Ticket(Struct, forbid_unknown_fields=True):
    """What is asked for in a JSON schema."""

    title: Line
    summary: Words
    category: Literal["billing", "delivery", "defect", "question"]
    priority: Annotated[int, Meta(ge=1, le=5)]
    tags: Annotated[list[Line], Meta(min_length=2, max_length=4)]
    people: Annotated[list[Person], Meta(min_length=1, max_length=3)]
    answer: Words
    resolved: bool


def text_format() -> dict[str, Any]:
    """`text` of a request whose answer is a ticket."""
    return {"format": {"type": "json_schema", "name": "ticket", "strict": True, "schema": schema()}}


def schema() -> dict[str, Any]:
    """A ticket's JSON schema."""
    return msgspec.json.schema(Ticket)


def valid(text: str) -> bool:
    """Whether a text is a whole ticket."""
    try:
        msgspec.json.decode(text, type=Ticket)
    except msgspec.MsgspecError:
        return False
    return True
