"""Reads a model's output once, from left to right, as it comes.

A reader is a generator: it yields where it needs more text, so a format reads like its description. Nothing is looked
at twice except the few characters that may still become a marker; so the work is linear in the length of the output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""A reading in progress: yields when it needs more text, returns what it has read."""

Emit = Callable[[str], None]

LONGEST_WORD = 4096  # longer than any name that is offered

_SPACE = re.compile(r"[ \t\r\n]*")
_STRUCTURE = re.compile(r'["{}\[\]]')
_STRING_END = re.compile(r'["\\]')
_SINGLE_STRING_END = re.compile(r"['\\]")
_PYTHON_PLAIN = re.compile(r"[-+.:0-9A-Za-z_ \t\r\n]*")
_SCALAR = re.compile(r"[-+.0-9A-Za-z]*")


class Markers:
    """Texts to look for. None of them may begin with another one."""

    def __init__(self, *texts: str) -> None:
        assert all(a == b or not b.startswith(a) for a in texts for b in texts), texts
        self.texts = texts
        self._find = re.compile("|".join(map(re.escape, texts)) or "(?!)").search
        self._beginnings = frozenset(text[:size] for text in texts for size in range(1, len(text)))
        self._longest = max(map(len, self._beginnings), default=0)

    def find(self, text: str, start: int) -> re.Match[str] | None:
        return self._find(text, start)

    def pending(self, text: str, start: int) -> int:
        """Length of the longest end of `text` that may become a marker."""
        for size in range(min(len(text) - start, self._longest), 0, -1):
            if text[-size:] in self._beginnings:
                return size
        return 0


class Source:
    """The output. What is read is gone, except from `record` while that is a list."""

    def __init__(self) -> None:
        self.record: list[str] | None = None
        self._text = ""
        self._at = 0
        self._gone = 0  # characters before `_text`
        self._ended = False

    @property
    def position(self) -> int:
        """How many characters of the output are read."""
        return self._gone + self._at

    def feed(self, text: str) -> None:
        self._gone += self._at
        self._text = self._text[self._at :] + text
        self._at = 0

    def end(self) -> None:
        """No more text will come."""
        self._ended = True

    def until(self, markers: Markers, emit: Emit) -> Steps[str | None]:
        """Passes on what is before the first marker and returns that marker; None when the output ends without."""
        while True:
            if found := markers.find(self._text, self._at):
                self._pass(found.start(), emit)
                self._pass(found.end())
                return found.group()
            pending = 0 if self._ended else markers.pending(self._text, self._at)
            self._pass(len(self._text) - pending, emit)
            if self._ended:
                return None
            yield

    def next_is(self, *options: str) -> Steps[str | None]:
        """Reads the option that comes next and returns it; when none of them does, reads nothing."""
        longest = max(map(len, options))
        while True:
            rest = self._text[self._at : self._at + longest]
            for option in options:
                if rest.startswith(option):
                    self._pass(self._at + len(option))
                    return option
            if self._ended or not any(option.startswith(rest) for option in options):
                return None
            yield

    def word(self, stop: Markers, limit: int = LONGEST_WORD) -> Steps[tuple[str, str] | None]:
        """A text of at most `limit` characters and the marker behind it; None where there is no such thing."""
        parts: list[str] = []
        size = 0
        while True:
            if found := stop.find(self._text, self._at):
                self._pass(found.start(), parts.append)
                self._pass(found.end())
                word = "".join(parts)
                return (word, found.group()) if len(word) <= limit else None
            pending = 0 if self._ended else stop.pending(self._text, self._at)
            size += len(self._text) - pending - self._at
            self._pass(len(self._text) - pending, parts.append)
            if self._ended or size > limit:
                return None
            yield

    def space(self, emit: Emit | None = None) -> Steps[None]:
        """Reads white space."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match
            self._pass(match.end(), emit)
            if self._at < len(self._text) or self._ended:
                return
            yield

    def peek(self) -> Steps[str]:
        """The next character, which stays unread; "" at the end of the output."""
        while self._at == len(self._text) and not self._ended:
            yield
        return self._text[self._at : self._at + 1]

    def rest(self, emit: Emit) -> Steps[None]:
        """Passes on everything that is still to come."""
        while True:
            self._pass(len(self._text), emit)
            if self._ended:
                return
            yield

    def json_value(self, emit: Emit) -> Steps[bool]:
        """Passes on one JSON value, judged by its quotes and brackets only; False where it is none or is cut."""
        first = yield from self.peek()
        if first == '"':
            self._pass(self._at + 1, emit)
            return (yield from self._string(emit))
        if first not in ("{", "["):
            return (yield from self._scalar(emit))
        depth = 0
        while True:
            at = self._at
            while found := _STRUCTURE.search(self._text, at):
                at = found.end()
                if found.group() == '"':
                    break
                depth += 1 if found.group() in "{[" else -1
                if depth == 0:
                    self._pass(at, emit)
                    return True
            else:
                self._pass(len(self._text), emit)
                if self._ended:
                    return False
                yield
                continue
            self._pass(at, emit)
            if not (yield from self._string(emit)):
                return False

    def python_value(self, emit: Emit) -> Steps[bool]:
        """The same for a Python literal, which also has strings in single quotes."""
        depth = 0
        size = 0
        while True:
            match = _PYTHON_PLAIN.match(self._text, self._at)
            assert match
            size += match.end() - self._at
            self._pass(match.end(), emit)
            following = yield from self.peek()
            if following in ("'", '"'):
                self._pass(self._at + 1, emit)
                if not (yield from self._string(emit, following)):
                    return False
                size += 2
            elif following in ("(", "[", "{"):
                depth += 1
                size += 1
                self._pass(self._at + 1, emit)
            elif depth and following in (")", "]", "}", ","):
                depth -= following != ","
                self._pass(self._at + 1, emit)
            elif not following or not _PYTHON_PLAIN.fullmatch(following):
                return size > 0 and depth == 0

    def _string(self, emit: Emit, quote: str = '"') -> Steps[bool]:
        """The rest of a JSON string, with its closing quote."""
        ends = _STRING_END if quote == '"' else _SINGLE_STRING_END
        while True:
            at = self._at
            while found := ends.search(self._text, at):
                at = found.end()
                if found.group() == quote:
                    self._pass(at, emit)
                    return True
                at += 1
                if at > len(self._text):  # what the backslash escapes has not come yet
                    at = found.start()
                    break
            else:
                at = len(self._text)
            self._pass(at, emit)
            if self._ended:
                self._pass(len(self._text), emit)
                return False
            yield

    def _scalar(self, emit: Emit) -> Steps[bool]:
        size = 0
        while True:
            match = _SCALAR.match(self._text, self._at)
            assert match
            size += match.end() - self._at
            self._pass(match.end(), emit)
            if self._at < len(self._text) or self._ended:
                return size > 0
            yield

    def _pass(self, to: int, emit: Emit | None = None) -> None:
        if to <= self._at:
            return
        text = self._text[self._at : to]
        self._at = to
        if self.record is not None:
            self.record.append(text)
        if emit is not None:
            emit(text)


class Trimmed:
    """Passes text on without line breaks at its beginning (where `leading`) and, when it is closed, at its end.

    At most `HELD` line breaks at the end are taken for the format's own.
    """

    HELD = 64

    def __init__(self, emit: Emit, *, leading: bool) -> None:
        self._emit = emit
        self._fresh = leading
        self._held = ""

    def feed(self, text: str) -> None:
        if self._fresh:
            text = text.lstrip("\r\n")
            if not text:
                return
            self._fresh = False
        body = text.rstrip("\r\n")
        if body:
            self._emit(self._held + body)
            self._held = ""
        self._held += text[len(body) :]
        if len(self._held) > self.HELD:
            self._emit(self._held[: -self.HELD])
            self._held = self._held[-self.HELD :]

    def close(self) -> None:
        """A marker of the format follows: line breaks before it are not the text's."""
        self._held = ""
        self._fresh = True

    def flush(self) -> None:
        """The output ends here: the line breaks were the text's own."""
        if self._held:
            self._emit(self._held)
            self._held = ""
