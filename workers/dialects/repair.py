"""A conversation as strict templates want it: some refuse what is ordinary here (Mistral's, Qwen3.5's).

They want the user to begin, user and assistant to take turns, calls and outputs aside, and no empty answers. What is
put in for that is as little as possible.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.dialects.history import Message, Messages

BEGINNING = "Hello."  # of the user, where the assistant would begin
CONTINUATION = "Go on."  # of the user, where the assistant speaks again behind something else
ACKNOWLEDGEMENT = "Ok."  # of the assistant, where the user speaks again behind an output


def repaired(messages: Messages) -> Messages:
    """The same conversation as such templates want it. Where the assistant spoke before a call and behind its output,
    the words before it are the call's, which not every template shows."""
    leading = 0
    while leading < len(messages) and messages[leading]["role"] in ("system", "developer"):
        leading += 1
    told = _Told()
    for message in _neighbours_joined(messages[leading:]):
        told.add(message)
    if not told.messages:
        told.add({"role": "user", "content": BEGINNING})
    return [*messages[:leading], *told.messages]


class _Told:
    """What has been told, and where words were last said outside of calls and outputs."""

    def __init__(self) -> None:
        self.messages: Messages = []
        self._said = -1

    def add(self, message: Message) -> None:
        if not self.messages and message["role"] != "user":
            self._say({"role": "user", "content": BEGINNING})
        if _speaker(message) is None:
            self.messages.append(message)
        elif not self.messages or self.messages[self._said]["role"] != message["role"]:
            self._say(message)
        elif message["role"] == "user":
            self._say({"role": "assistant", "content": ACKNOWLEDGEMENT})
            self._say(message)
        elif self.messages[self._said + 1].get("tool_calls"):
            words = self.messages.pop(self._said)
            self.messages[self._said] = _joined(words, self.messages[self._said])
            self._say(message)
        else:
            self._say({"role": "user", "content": CONTINUATION})
            self._say(message)

    def _say(self, message: Message) -> None:
        self._said = len(self.messages)
        self.messages.append(message)


def _neighbours_joined(messages: Messages) -> Messages:
    """Neighbours who say something as one message, without empty answers."""
    told = (message for message in messages if _speaker(message) != "assistant" or message["content"])
    result: Messages = []
    for speaker, neighbours in groupby(told, _speaker):
        together = list(neighbours)
        result += together if speaker is None else [_joined(*together)]
    return result


def _speaker(message: Message) -> str | None:
    """Who says something outside of calls and outputs, if anybody does."""
    role: str = message["role"]
    return role if role in ("user", "assistant") and not message.get("tool_calls") else None


def _joined(*messages: Message) -> Message:
    joined: Message = {}
    for message in messages:
        joined |= message
    return {**joined, "content": "\n\n".join(filter(None, (message["content"] for message in messages)))}
