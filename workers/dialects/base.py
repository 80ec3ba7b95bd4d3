"""The one face of all dialects: how a family of chat templates is prompted, and how its output is read.

A dialect is immutable and shared by all requests of a model; a parser belongs to one generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from workers.dialects.toolbox import Toolbox

if TYPE_CHECKING:
    from workers.dialects.history import Messages
    from workers.grammar.builder import GrammarBuilder
    from workers.probe import Traits

PieceKind = Literal["text", "reasoning", "call", "arguments", "call_end"]


class Piece(NamedTuple):
    """A stretch of what the model said.

    A call comes as `call` (its text is the tool's name, see `Toolbox.get`), any number of `arguments`, and `call_end`.
    The arguments add up to JSON text, or to a custom tool's input. A call without its end was cut.
    """

    kind: PieceKind
    text: str = ""
    phase: Literal["commentary"] | None = None  # of text: said on the way to a call


class Stretch(NamedTuple):
    """A part of the output, in characters."""

    begin: int
    end: int | None  # behind its last character; None while it goes on


class Parser(Protocol):
    """Reads a model's output as it comes, in linear time. It never raises: what it does not know is text."""

    @property
    def reasoning(self) -> bool:
        """Whether what comes next is reasoning, as far as the parser knows."""

    @property
    def thoughts(self) -> Sequence[Stretch]:
        """The reasoning so far, each from the marker that opens it to the one that closes it, with both."""

    @property
    def position(self) -> int:
        """How many characters of the output are read; about those behind it the parser may change its mind."""

    def feed(self, text: str) -> list[Piece]: ...

    def finish(self) -> list[Piece]:
        """What was held back because it might have become a marker."""


class Opening(Enum):
    """What the end of a prompt leaves open."""

    REASONING = auto()  # the output continues reasoning that the prompt has opened
    MAY_REASON = auto()  # the model may open reasoning itself
    ANSWER = auto()  # there is no reasoning, or the prompt has closed it


class Dialect(Protocol):
    """A family of chat templates. The template itself is rendered by `workers.template`."""

    @property
    def name(self) -> str: ...

    @property
    def stop_texts(self) -> Sequence[str]:
        """Tokens that end an answer though the model's file may not say so."""

    @property
    def reasoning_end(self) -> str:
        """What the template writes between reasoning and answer. Put into the output it closes the reasoning early."""

    @property
    def early_words(self) -> str:
        """What the reasoning is to say before it is closed early; "" where the models know no such words."""

    def template_variables(self, effort: str | None) -> dict[str, Any]:
        """What the template is told of `reasoning.effort`: always the family's own variable, as defaults differ."""

    def opening(self, prompt: str) -> Opening:
        """What the end of `prompt` leaves open."""

    def parser(
        self, prompt: str, tools: Toolbox | None = None, *, sure: bool = False, formatted: bool = False
    ) -> Parser:
        """A parser for the output that follows `prompt`, whose tail may have opened the reasoning.

        Without `tools` nothing is a call. `sure`: the output is held to `grammar`, so arguments are passed on as they
        are generated; otherwise a call is checked when it is complete, and is text where it is none. `formatted`: the
        answer is JSON by the request's format. It is text whatever it spells, and calls come in its place.
        """

    def prepare(
        self, messages: Messages, tools: Toolbox | None, traits: Traits
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        """The messages and tools to render, from messages in the form of `workers.dialects.history`."""

    def grammar(self, builder: GrammarBuilder) -> str:
        """The rule, in Lark's syntax, for everything that may follow the prompt. Raises GrammarError."""
