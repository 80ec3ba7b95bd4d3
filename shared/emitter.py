"""The only place where Responses events are born: a state machine that cannot emit a bad order.

Order and fields: OpenAI's streaming reference. Each event is encoded once, here, as it will appear on the wire.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared.schema import events
from shared.schema.content import OutputText, ReasoningText
from shared.schema.ids import new_id
from shared.schema.items import ItemStatus, Message, Reasoning
from shared.schema.response import IncompleteDetails, Response, ResponseError, Usage

_encode = msgspec.json.Encoder().encode


class EmitterError(RuntimeError):
    """A call that the state of the response does not allow: a bug in the caller, never something the model did."""


@dataclass(slots=True)
class _OpenMessage:
    item: Message
    text: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _OpenReasoning:
    item: Reasoning
    text: list[str] = field(default_factory=list)


class Emitter:
    """Turns parsed pieces into the events of one response and keeps the Response object they add up to.

    `take` returns the encoded events since the last call; they are numbered from `next_sequence` on without a gap.
    """

    def __init__(self, response: Response, next_sequence: int) -> None:
        self.response = response
        self._sequence = next_sequence
        self._pending: list[bytes] = []
        self._open: _OpenMessage | _OpenReasoning | None = None
        self._ended = False

    def take(self) -> list[bytes]:
        taken, self._pending = self._pending, []
        return taken

    def in_progress(self) -> None:
        self.response.status = "in_progress"
        self._emit(events.InProgress, response=self.response)

    def text(self, delta: str) -> None:
        """Adds to the message, which is opened when needed."""
        if not delta:
            return
        current = self._message()
        current.text.append(delta)
        self._emit(events.TextDelta, item_id=current.item.id, output_index=self._index, content_index=0, delta=delta)

    def reasoning(self, delta: str) -> None:
        """Adds to the reasoning item, which is opened when needed."""
        if not delta:
            return
        current = self._reasoning()
        current.text.append(delta)
        self._emit(
            events.ReasoningTextDelta, item_id=current.item.id, output_index=self._index, content_index=0, delta=delta
        )

    def complete(self, usage: Usage) -> None:
        """Ends well. A model that said nothing at all has given an empty message."""
        self._close("completed")
        if not any(isinstance(item, Message) for item in self.response.output):
            self._message()
            self._close("completed")
        self.response.completed_at = int(time.time())
        self._end("completed", usage, events.Completed)

    def cut(self, usage: Usage) -> None:
        """Ends because `max_output_tokens` or the context was used up; the last item is incomplete."""
        self._close("incomplete")
        self.response.incomplete_details = IncompleteDetails(reason="max_output_tokens")
        self._end("incomplete", usage, events.Incomplete)

    def cancel(self, usage: Usage | None) -> None:
        """Ends because somebody asked. There is no event of that name: `response.incomplete` carries the status."""
        self._close("incomplete")
        self._end("cancelled", usage, events.Incomplete)

    def fail(self, code: str, message: str, usage: Usage | None = None) -> None:
        """Ends because something went wrong after the stream began."""
        self._close("incomplete")
        self.response.error = ResponseError(code=code, message=message)
        self._end("failed", usage, events.Failed)

    @property
    def _index(self) -> int:
        return len(self.response.output)

    def _message(self) -> _OpenMessage:
        if isinstance(self._open, _OpenMessage):
            return self._open
        self._close("completed")
        item = Message(id=new_id("msg"), status="in_progress", role="assistant", content=[])
        self._emit(events.OutputItemAdded, output_index=self._index, item=item)
        part = OutputText(text="")
        self._emit(events.ContentPartAdded, item_id=item.id, output_index=self._index, content_index=0, part=part)
        self._open = _OpenMessage(item)
        return self._open

    def _reasoning(self) -> _OpenReasoning:
        if isinstance(self._open, _OpenReasoning):
            return self._open
        self._close("completed")
        item = Reasoning(id=new_id("rs"), content=[])
        self._emit(events.OutputItemAdded, output_index=self._index, item=item)
        part = ReasoningText(text="")
        self._emit(events.ContentPartAdded, item_id=item.id, output_index=self._index, content_index=0, part=part)
        self._open = _OpenReasoning(item)
        return self._open

    def _close(self, status: ItemStatus) -> None:
        current, self._open = self._open, None
        if current is None:
            return
        text = "".join(current.text)
        where = {"item_id": current.item.id, "output_index": self._index, "content_index": 0}
        if isinstance(current, _OpenMessage):
            part = OutputText(text=text)
            self._emit(events.TextDone, **where, text=text)
            self._emit(events.ContentPartDone, **where, part=part)
            current.item.content = [part]
            current.item.status = status
        else:
            thought = ReasoningText(text=text)
            self._emit(events.ReasoningTextDone, **where, text=text)
            self._emit(events.ContentPartDone, **where, part=thought)
            current.item.content = [thought]
        self._emit(events.OutputItemDone, output_index=self._index, item=current.item)
        self.response.output.append(current.item)

    def _end(self, status: Any, usage: Usage | None, event: type[events.ResponseEvent]) -> None:
        self.response.status = status
        self.response.usage = usage
        self._emit(event, response=self.response)
        self._ended = True

    def _emit(self, event: type[events.Event], **fields: Any) -> None:
        if self._ended:
            raise EmitterError(f"{event.__name__} after the terminal event")
        self._pending.append(_encode(event(sequence_number=self._sequence, **fields)))
        self._sequence += 1
