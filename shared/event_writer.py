"""What every event of a response is made with: its number, its bytes, and the item that is being written."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared.schema import events
from shared.schema.content import Logprob
from shared.schema.ids import OUTPUT_POSITIONS, item_id
from shared.schema.items import OutputItem
from shared.schema.response import Response

_encode = msgspec.json.Encoder().encode
OBFUSCATED_LENGTH = 16  # deltas are padded to a multiple of this, so that their size tells little


class EmitterError(RuntimeError):
    """A call that the state of the response does not allow: a bug in the caller, never something the model did."""


@dataclass(slots=True)
class OpenItem:
    """The item that is being written."""

    item: OutputItem
    text: list[str] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)


class EventWriter:
    """Numbers and encodes the events of one response, and keeps the item that is open."""

    def __init__(self, response: Response, next_sequence: int, *, obfuscate: bool = False) -> None:
        self.response = response
        self._sequence = next_sequence
        self._obfuscate = obfuscate
        self._pending: list[bytes] = []
        self._open: OpenItem | None = None
        self._ended = False

    @property
    def next_sequence(self) -> int:
        """The number of the next event."""
        return self._sequence

    def take(self) -> list[bytes]:
        """The encoded events since the last call."""
        taken, self._pending = self._pending, []
        return taken

    def _new_id(self, prefix: str) -> str:
        return item_id(prefix, self.response.id, OUTPUT_POSITIONS + self._index)

    @property
    def _index(self) -> int:
        return len(self.response.output)

    def _current(self, kind: type[OutputItem]) -> OpenItem:
        if self._open is None or not isinstance(self._open.item, kind):
            raise EmitterError(f"no open {kind.__name__}")
        return self._open

    def _begin(self, item: OutputItem) -> OpenItem:
        self._emit(events.OutputItemAdded, output_index=self._index, item=item)
        self._open = OpenItem(item)
        return self._open

    def _emit_delta(self, event: type[events.Event], delta: str, **fields: Any) -> None:
        if self._obfuscate:
            fields["obfuscation"] = secrets.token_urlsafe(OBFUSCATED_LENGTH)[: -len(delta) % OBFUSCATED_LENGTH]
        self._emit(event, delta=delta, **fields)

    def _emit(self, event: type[events.Event], **fields: Any) -> None:
        if self._ended:
            raise EmitterError(f"{event.__name__} after the terminal event")
        self._pending.append(_encode(event(sequence_number=self._sequence, **fields)))
        self._sequence += 1
