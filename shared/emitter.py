"""The only place where Responses events are born: a state machine that cannot emit a bad order.

Order and fields: OpenAI's streaming reference. Each event is encoded once, here, as it will appear on the wire.
Workers use it to generate; `shared.rebuild` uses it to make the events of a finished response again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from shared.event_writer import OpenItem
from shared.remote_items import RemoteItems
from shared.schema import events
from shared.schema.content import Logprob, OutputText, ReasoningText, SummaryText
from shared.schema.items import (
    Compaction,
    CustomToolCall,
    FunctionCall,
    ItemStatus,
    McpCall,
    McpListTools,
    Message,
    Phase,
    Reasoning,
)
from shared.schema.response import IncompleteDetails, Response, ResponseError, Status, Usage

_decode = msgspec.json.Decoder(events.AnyEvent).decode


_SILENT = (Reasoning, McpListTools, McpCall)  # what is no answer


class Emitter(RemoteItems):
    """Turns parsed pieces into the events of one response and keeps the Response object they add up to.

    `take` returns the encoded events since the last call; they are numbered from `next_sequence` on without a gap.
    `obfuscate` pads deltas; `seal` and `summarise` make the `encrypted_content` and
    the summary of reasoning items.
    """

    def __init__(
        self,
        response: Response,
        next_sequence: int,
        *,
        obfuscate: bool = False,
        seal: Callable[[str], str] | None = None,
        summarise: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(response, next_sequence, obfuscate=obfuscate)
        self._seal = seal
        self._summarise = summarise

    @classmethod
    def restore(
        cls,
        response: Response,
        log: Sequence[bytes],
        *,
        obfuscate: bool = False,
        seal: Callable[[str], str] | None = None,
        summarise: Callable[[str], str] | None = None,
    ) -> Emitter:
        """An emitter that goes on where a lost one stopped.

        `log` holds every event from 0, `response` is as it was at the beginning.
        """
        emitter = cls(response, len(log), obfuscate=obfuscate, seal=seal, summarise=summarise)
        for encoded in log:
            match _decode(encoded):
                case events.OutputItemAdded(item=item):
                    emitter._open = OpenItem(item)
                    if isinstance(item, McpListTools):
                        emitter._set_aside()
                case events.TextDelta(delta=delta, logprobs=logprobs) if emitter._open:
                    emitter._open.text.append(delta)
                    emitter._open.logprobs += logprobs
                case (
                    events.ReasoningTextDelta(delta=delta)
                    | events.ArgumentsDelta(delta=delta)
                    | events.CustomInputDelta(delta=delta)
                    | events.McpArgumentsDelta(delta=delta)
                ) if emitter._open:
                    emitter._open.text.append(delta)
                case events.McpArgumentsDone(arguments=arguments) if emitter._open:
                    emitter._open.item.arguments = arguments  # type: ignore[union-attr]
                    emitter._set_aside()
                case events.OutputItemDone(item=item) if item.id in emitter._waiting:
                    response.output[emitter._waiting.pop(item.id)] = item
                case events.OutputItemDone(item=item):
                    emitter._open = None
                    response.output.append(item)
                case events.ResponseEvent(response=snapshot):
                    response.status = snapshot.status
        return emitter

    @property
    def has_output(self) -> bool:
        return self._open is not None or bool(self.response.output)

    # the beginning

    def created(self) -> None:
        self._emit(events.Created, response=self.response)

    def queued(self) -> None:
        self._emit(events.Queued, response=self.response)

    def in_progress(self) -> None:
        """Also sent again while nothing else happens for long: some clients count it as activity, but no comment. It
        tells no output, whatever there is: the log would have that once for each sign of life."""
        self.response.status = "in_progress"
        self._emit(events.InProgress, response=msgspec.structs.replace(self.response, output=[]))

    # items

    def text(self, delta: str, logprobs: list[Logprob] | None = None, phase: Phase | None = None) -> None:
        """Adds to the message, which is opened when needed."""
        if not delta and not logprobs:
            return
        current = self._open
        if current is None or not isinstance(current.item, Message) or (phase and current.item.phase != phase):
            current = self.open_message(phase=phase)
        current.text.append(delta)
        current.logprobs += logprobs or ()
        self._emit_delta(events.TextDelta, delta, **self._part(current), logprobs=logprobs or [])

    def reasoning(self, delta: str) -> None:
        """Adds to the reasoning item, which is opened when needed."""
        if not delta:
            return
        current = self._open
        if current is None or not isinstance(current.item, Reasoning):
            current = self.open_reasoning()
        current.text.append(delta)
        self._emit_delta(events.ReasoningTextDelta, delta, **self._part(current))

    def arguments(self, delta: str) -> None:
        """Adds to the function call that `open_call` has opened."""
        current = self._current(FunctionCall)
        if delta:
            current.text.append(delta)
            self._emit_delta(events.ArgumentsDelta, delta, item_id=current.item.id, output_index=self._index)

    def custom_input(self, delta: str) -> None:
        """Adds to the custom tool call that `open_custom_call` has opened."""
        current = self._current(CustomToolCall)
        if delta:
            current.text.append(delta)
            self._emit_delta(events.CustomInputDelta, delta, item_id=current.item.id, output_index=self._index)

    def open_message(self, given_id: str | None = None, phase: Phase | UnsetType | None = None) -> OpenItem:
        """Begins a message; the item before is complete."""
        self.close()
        item = Message(
            id=given_id or self._new_id("msg"), status="in_progress", role="assistant", content=[], phase=phase or UNSET
        )
        current = self._begin(item)
        self._emit(events.ContentPartAdded, **self._part(current), part=OutputText(text=""))
        return current

    def open_reasoning(self, given_id: str | None = None) -> OpenItem:
        """Begins a reasoning item; the item before is complete."""
        self.close()
        current = self._begin(Reasoning(id=given_id or self._new_id("rs"), content=[]))
        self._emit(events.ContentPartAdded, **self._part(current), part=ReasoningText(text=""))
        return current

    def open_call(
        self, name: str, call_id: str, given_id: str | None = None, namespace: str | UnsetType | None = UNSET
    ) -> None:
        """Begins a function call; the item before is complete."""
        self.close()
        item = FunctionCall(
            id=given_id or self._new_id("fc"),
            call_id=call_id,
            name=name,
            arguments="",
            status="in_progress",
            namespace=namespace or UNSET,
        )
        self._begin(item)

    def open_custom_call(
        self, name: str, call_id: str, given_id: str | None = None, namespace: str | UnsetType | None = UNSET
    ) -> None:
        """Begins a custom tool call; the item before is complete."""
        self.close()
        self._begin(
            CustomToolCall(
                id=given_id or self._new_id("ctc"), call_id=call_id, name=name, input="", namespace=namespace or UNSET
            )
        )

    def compaction(self, sealed: str, given_id: str | None = None) -> None:
        """A whole compaction item; the item before is complete."""
        self.close()
        self._begin(Compaction(id=given_id or self._new_id("cmp"), encrypted_content=sealed))
        self.close()

    def compacting(self) -> None:
        """Says that the model is summarising; the compaction item follows."""
        self.close()
        where = {"item_id": self._new_id("cmp"), "output_index": self._index}
        self._emit(events.Compacting, **where)

    # the end of an item

    def close(self, status: ItemStatus = "completed", encrypted_content: str | UnsetType | None = UNSET) -> None:
        """Ends the open item, if there is one. `encrypted_content` is a reasoning item's, where it is known already."""
        current = self._open
        if current is None:
            return
        text = "".join(current.text)
        if self._summarise and isinstance(current.item, Reasoning) and text:
            self.summary(self._summarise(text))
        self._open = None
        match current.item:
            case Message() as item:
                part = OutputText(text=text, logprobs=current.logprobs)
                self._emit(events.TextDone, **self._part(current), text=text, logprobs=current.logprobs)
                self._emit(events.ContentPartDone, **self._part(current), part=part)
                item.content = [part]
                item.status = status
            case Reasoning() as item:
                thought = ReasoningText(text=text)
                self._emit(events.ReasoningTextDone, **self._part(current), text=text)
                self._emit(events.ContentPartDone, **self._part(current), part=thought)
                item.content = [thought]
                item.encrypted_content = self._seal(text) if self._seal else encrypted_content
            case FunctionCall() as item:
                where = {"item_id": item.id, "output_index": self._index}
                self._emit(events.ArgumentsDone, **where, name=item.name, arguments=text)
                item.arguments = text
                item.status = status
            case CustomToolCall() as item:
                self._emit(events.CustomInputDone, item_id=item.id, output_index=self._index, input=text)
                item.input = text
                item.status = UNSET if status == "completed" else status
            case McpCall() as item:
                self._emit(events.McpArgumentsDone, item_id=item.id, output_index=self._index, arguments=text)
                item.arguments = text
                if status == "completed":
                    self._open = current
                    self._set_aside()
                    return
                item.status = status
        self._emit(events.OutputItemDone, output_index=self._index, item=current.item)
        self.response.output.append(current.item)

    def summary(self, text: str) -> None:
        """Gives the open reasoning item a summary part."""
        item = self._current(Reasoning).item
        assert isinstance(item, Reasoning)
        where: dict[str, Any] = {
            "item_id": item.id,
            "output_index": self._index,
            "summary_index": len(item.summary),
        }
        self._emit(events.SummaryPartAdded, **where, part=SummaryText(text=""))
        self._emit_delta(events.SummaryTextDelta, text, **where)
        self._emit(events.SummaryTextDone, **where, text=text)
        self._emit(events.SummaryPartDone, **where, part=SummaryText(text=text))
        item.summary.append(SummaryText(text=text))

    # the end

    def complete(self, usage: Usage | None, *, silent: bool = False) -> None:
        """Ends well. A model that said nothing at all has given an empty message, unless it was to be silent."""
        self.close()
        if not silent and all(isinstance(item, _SILENT) for item in self.response.output):
            self.open_message()
            self.close()
        self.response.completed_at = int(time.time())
        self._end("completed", usage, events.Completed)

    def cut(self, usage: Usage | None) -> None:
        """Ends because `max_output_tokens` or the context was used up; the last item is incomplete."""
        self.close("incomplete")
        self.response.incomplete_details = IncompleteDetails(reason="max_output_tokens")
        self._end("incomplete", usage, events.Incomplete)

    def cancel(self, usage: Usage | None) -> None:
        """Ends because somebody asked. There is no event of that name: `response.incomplete` carries the status."""
        self.close("incomplete")
        self._end("cancelled", usage, events.Incomplete)

    def fail(self, code: str, message: str, usage: Usage | None = None) -> None:
        """Ends because something went wrong after the stream began."""
        self.close("incomplete")
        self.response.error = ResponseError(code=code, message=message)
        self._end("failed", usage, events.Failed)

    def conclude(self) -> None:
        """The terminal event of a response that has ended before."""
        kind = {"completed": events.Completed, "failed": events.Failed}.get(self.response.status, events.Incomplete)
        self._emit(kind, response=self.response)
        self._ended = True

    def _part(self, current: OpenItem) -> dict[str, Any]:
        return {"item_id": current.item.id, "output_index": self._index, "content_index": 0}

    def _end(self, status: Status, usage: Usage | None, event: type[events.ResponseEvent]) -> None:
        self._abandon()
        self.response.status = status
        self.response.usage = usage
        self._emit(event, response=self.response)
        self._ended = True
