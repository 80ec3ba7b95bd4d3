"""The parser of every family that marks reasoning and calls inside one stream of text."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, Protocol

from workers.dialects.arguments import ArgumentsBroken, JsonArguments, NamedArguments
from workers.dialects.base import Opening, Piece, PieceKind, Stretch
from workers.dialects.stream import Markers, Source, Steps, Trimmed
from workers.dialects.toolbox import OfferedTool, Toolbox


class CallReader(Protocol):
    """How a family writes calls."""

    @property
    def triggers(self) -> tuple[str, ...]:
        """What begins one or more calls. Where a trigger is not a marker of its own, reading goes on behind it."""

    def read(self, calls: Calls, trigger: str) -> Steps[bool]:
        """Reads what follows a trigger; False where the format is broken. Calls that were ended before are kept."""


class StreamParser:
    """Runs a reading as text comes in. Subclasses write the reading."""

    def __init__(self) -> None:
        self.source = Source()
        self.thoughts: list[Stretch] = []
        self._pieces: list[Piece] = []
        self._steps: Generator[None, None, None] | None = self._read()
        self._run()

    def feed(self, text: str) -> list[Piece]:
        if text:
            self.source.feed(text)
            self._run()
        return self._take()

    def finish(self) -> list[Piece]:
        self.source.end()
        self._run()
        return self._take()

    @property
    def reasoning(self) -> bool:
        return bool(self.thoughts) and self.thoughts[-1].end is None

    @property
    def position(self) -> int:
        return self.source.position

    def think(self, marker: str = "") -> None:
        """Reasoning begins with the marker that was just read."""
        self.thoughts.append(Stretch(self.position - len(marker), None))

    def conclude(self, following: str = "") -> None:
        """Reasoning ends before what was just read of what follows."""
        self.thoughts[-1] = Stretch(self.thoughts[-1].begin, self.position - len(following))

    def emit(self, kind: PieceKind, text: str = "", phase: Literal["commentary"] | None = None) -> None:
        self._pieces.append(Piece(kind, text, phase))

    def _read(self) -> Steps[None]:
        raise NotImplementedError

    def _run(self) -> None:
        if self._steps is not None and next(self._steps, self) is self:
            self._steps = None

    def _take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces


class Calls:
    """What is read behind one trigger: it becomes calls, or goes back to being text, whole."""

    def __init__(self, parser: StreamParser, tools: Toolbox, text: Trimmed, *, sure: bool) -> None:
        self.source = parser.source
        self.sure = sure
        self.tools = tools
        self.ended = 0  # calls that are complete
        self._parser = parser
        self._text = text
        self._held: list[Piece] = []
        self._open: JsonArguments | NamedArguments | None = None
        self._goes_back = False

    def go_back(self) -> None:
        """The trigger is none of the format's own markers: where no tool is named, reading goes on right behind it, as
        a call may begin inside of what was taken for one."""
        self._goes_back = True

    def run(self, reader: CallReader, trigger: str) -> Steps[bool]:
        """Reads behind `trigger`; False where that broke the format, and was passed on as text."""
        self.source.record = [trigger]
        try:
            whole = yield from reader.read(self, trigger)
        except ArgumentsBroken:
            whole = False
        record, self.source.record = "".join(self.source.record), None
        if whole or self._committed:
            return True
        if self._goes_back and self._open is None:
            kept = 0 if self.ended else len(trigger)
            self.source.go_back(record[kept:])
            record = record[:kept]
        self._text.feed(record)
        return False

    def json(self, name: str) -> JsonArguments | None:
        """Begins a call whose arguments are written as JSON; None where there is no such tool."""
        if (tool := self._begin(name)) is None:
            return None
        self._open = JsonArguments(tool, self._argument, sure=self.sure)
        return self._open

    def named(self, name: str) -> NamedArguments | None:
        """Begins a call whose arguments are written one by one; None where there is no such tool."""
        if (tool := self._begin(name)) is None:
            return None
        self._open = NamedArguments(tool, self._argument, sure=self.sure)
        return self._open

    def end(self) -> None:
        """The call is complete: from here on it is one, whatever follows. Raises ArgumentsBroken."""
        assert self._open is not None
        self._open.close()
        self._open = None
        self._commit()
        self._parser.emit("call_end")
        self.ended += 1
        if self.source.record is not None:
            self.source.record = []

    @property
    def _committed(self) -> bool:
        """Whether the call that is being read is already given out."""
        return self.sure and self._open is not None

    def _begin(self, name: str) -> OfferedTool | None:
        tool = self.tools.get(name)
        if tool is not None:
            self._held = [Piece("call", name)]
            if self.sure:
                self._commit()
        return tool

    def _argument(self, text: str) -> None:
        if text and self.sure:
            self._parser.emit("arguments", text)
        elif text:
            self._held.append(Piece("arguments", text))

    def _commit(self) -> None:
        self._text.close()
        for piece in self._held:
            self._parser.emit(*piece)
        self._held = []


class MarkedParser(StreamParser):
    """Reasoning between two markers, then text with calls in it."""

    def __init__(
        self,
        *,
        opening: Opening,
        think: tuple[str, str] | None,
        calls: CallReader | None = None,
        tools: Toolbox | None = None,
        sure: bool = False,
        calls_end_reasoning: bool = False,
        wrap: tuple[str, str] | None = None,
        formatted: bool = False,
    ) -> None:
        """`wrap`: markers round the answer that are not part of it; `formatted`: see `Dialect.parser`."""
        self._opening = opening
        self._think = think
        self._calls = calls if tools else None
        self._tools = tools or Toolbox()
        self._sure = sure
        self._calls_end_reasoning = calls_end_reasoning
        self._triggers = self._calls.triggers if self._calls else ()
        self._wrap = wrap
        self._formatted = formatted
        super().__init__()

    def _read(self) -> Steps[None]:
        fresh = False
        trigger: str | None = None
        if self._opening is Opening.REASONING:
            self.think()
            trigger = yield from self._reason()
            fresh = True
        elif self._opening is Opening.MAY_REASON and self._think:
            before: list[str] = []
            yield from self.source.space(before.append)
            if (yield from self.source.next_is(self._think[0])):
                self.think(self._think[0])
                trigger = yield from self._reason()
                fresh = True
            else:
                yield from self._answer("".join(before), fresh=False, trigger=None)
                return
        yield from self._answer("", fresh=fresh, trigger=trigger)

    def _reason(self) -> Steps[str | None]:
        """Reads reasoning to its end; returns a call's trigger where that ended it."""
        assert self._think
        begin, end = self._think
        text = Trimmed(lambda words: self.emit("reasoning", words), leading=True)
        before: list[str] = []
        yield from self.source.space(before.append)
        if (yield from self.source.next_is(begin)) is None:  # some models open once more what the prompt has opened
            text.feed("".join(before))
        marker = yield from self.source.until(
            Markers(end, *(self._triggers if self._calls_end_reasoning else ())), text.feed
        )
        if marker is None:
            text.flush()
            return None
        if marker == end:
            self.conclude()
            return None
        self.conclude(marker)
        return marker

    def _answer(self, before: str, *, fresh: bool, trigger: str | None) -> Steps[None]:
        text = Trimmed(lambda words: self.emit("text", words), leading=fresh or self._formatted)
        end = None
        if trigger is None:
            end = yield from self._unwrap(before, text)
        if self._formatted:
            yield from self._formatted_answer(text, trigger, end)
        else:
            yield from self._free_answer(text, trigger, end)

    def _unwrap(self, before: str, text: Trimmed) -> Steps[str | None]:
        """Reads the marker that opens the answer; returns the one that closes it then. `before`: read already."""
        if self._wrap is None:
            text.feed(before)
            return None
        begin, end = self._wrap
        space = [before]
        yield from self.source.space(space.append)
        if (yield from self.source.next_is(begin)) is None:
            text.feed("".join(space))
            return None
        text.close()
        return end

    def _free_answer(self, text: Trimmed, trigger: str | None, end: str | None) -> Steps[None]:
        """Text with calls in it. `end`: the marker that closes the answer."""
        markers = Markers(*self._triggers, *([end] if end else ()))
        while True:
            marker = trigger or (yield from self.source.until(markers, text.feed))
            trigger = None
            if marker is None:
                text.flush()
                return
            if marker == end:
                trigger = yield from self._close(end, text)
            elif self._calls is not None:
                yield from Calls(self, self._tools, text, sure=self._sure).run(self._calls, marker)

    def _close(self, end: str, text: Trimmed) -> Steps[str | None]:
        """Reads on behind the marker that closes an answer. It is text like any where more text follows; returns a
        call's trigger where that follows."""
        read = [end]
        yield from self.source.space(read.append)
        trigger = (yield from self.source.next_is(*self._triggers)) if self._triggers else None
        if trigger is None and (yield from self.source.peek()):
            text.feed("".join(read))
        else:
            text.close()
        return trigger

    def _formatted_answer(self, text: Trimmed, trigger: str | None, end: str | None) -> Steps[None]:
        """Calls, one behind the other, or text."""
        space: list[str] = []
        while self._calls is not None and end is None:
            if trigger is None:
                yield from self.source.space(space.append)
                trigger = yield from self.source.next_is(*self._triggers)
            if trigger is None:
                break
            space = []
            if not (yield from Calls(self, self._tools, text, sure=self._sure).run(self._calls, trigger)):
                break
            trigger = None
        text.feed("".join(space))
        if end is not None and (yield from self.source.json_value(text.feed)):
            yield from self.source.next_is(end)
        yield from self.source.rest(text.feed)
        text.flush()
