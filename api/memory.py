"""What one WebSocket remembers of responses that are not stored, so that a later frame may continue them.

Each turn is kept once, with a link to the one it continues: a chain costs what its turns cost. Their JSON is counted.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from api.calls import open_calls
from api.creation import Chain
from shared.redis.conversations import Opening
from shared.redis.records import Record
from shared.schema.files import as_text
from shared.schema.items import Compaction, Item, OutputItem, text_bytes
from shared.schema.response import CONTINUABLE, Status
from shared.turns import in_order

MOST_REMEMBERED = 64  # unstored responses of one connection that can be continued


class _Ended(Struct):
    status: Status
    output: list[OutputItem]


class _Terminal(Struct):
    response: _Ended


_encode = msgspec.json.Encoder().encode
_terminal = msgspec.json.Decoder(_Terminal)


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A response that can be continued."""

    before: Turn | None  # the one it continues, where that was not stored either
    input: list[Item]  # its own; files are the text in them
    output: list[OutputItem]
    stored: list[str]  # ids of the responses that the chain begins with
    opening: Opening | None
    text_bytes: int  # in the whole chain, stored responses included
    bytes: int  # of JSON, of this turn and all before it

    @property
    def own_bytes(self) -> int:
        return self.bytes - (self.before.bytes if self.before else 0)

    def chain(self) -> Chain:
        """What a response that continues this one begins with."""
        turns = [self]
        while turns[-1].before:
            turns.append(turns[-1].before)
        items: list[Item] = []
        for turn in reversed(turns):
            items += turn.input
            if any(isinstance(item, Compaction) for item in turn.output):
                items = in_order(items, turn.output)
            else:
                items += turn.output
        return Chain(self.stored, self.text_bytes, open_calls(self.output), self.opening, items)


def turn_of(record: Record, terminal: bytes, before: Turn | None) -> Turn | None:
    """What is to be remembered of a response, from what it began with and its terminal event; None where it cannot be
    continued. `before` is what it continues."""
    ended = _terminal.decode(terminal).response
    if ended.status not in CONTINUABLE:
        return None
    taken = [as_text(item) for item in record.input[record.inherited :]]
    size = len(_encode(taken)) + len(_encode(ended.output))
    opening = record.opening
    return Turn(
        before=before,
        input=taken,
        output=ended.output,
        stored=record.ancestors,
        opening=Opening(conversation=opening.conversation, before=opening.before) if opening else None,
        text_bytes=record.context_bytes + text_bytes(ended.output),
        bytes=before.bytes + size if before else len(_encode(record.ancestors)) + size,
    )


class Memory:
    """The turns of a connection that a later frame may continue; the oldest are forgotten."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: of the JSON of all that is remembered; one turn alone may be more."""
        self._most_bytes = most_bytes
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        self._uses: Counter[Turn] = Counter()  # how often each is remembered, or linked to by one that is
        self.bytes = 0  # of the JSON of all these

    def get(self, response_id: str | None) -> Turn | None:
        return self._turns.get(response_id) if response_id else None

    def keep(self, response_id: str, turn: Turn) -> None:
        """Remembers a turn and all it continues, unless that is too much together."""
        if turn.before and turn.bytes > self._most_bytes:
            return
        self._turns[response_id] = turn
        self._hold(turn)
        while len(self._turns) > 1 and (len(self._turns) > MOST_REMEMBERED or self.bytes > self._most_bytes):
            self._release(self._turns.popitem(last=False)[1])

    def _hold(self, turn: Turn | None) -> None:
        while turn:
            self._uses[turn] += 1
            if self._uses[turn] > 1:
                return
            self.bytes += turn.own_bytes
            turn = turn.before

    def _release(self, turn: Turn | None) -> None:
        while turn:
            self._uses[turn] -= 1
            if self._uses[turn]:
                return
            del self._uses[turn]
            self.bytes -= turn.own_bytes
            turn = turn.before
