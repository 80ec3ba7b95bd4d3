"""The one face of all dialects: how a family of chat templates is prompted, and how its output is read."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol


class Piece(NamedTuple):
    """A stretch of what the model said."""

    kind: Literal["text", "reasoning"]
    text: str


class Parser(Protocol):
    """Reads a model's output as it comes, in linear time. It never raises: what it does not know is text."""

    @property
    def reasoning(self) -> bool:
        """Whether what comes next is reasoning, as far as the parser knows."""

    def feed(self, text: str) -> list[Piece]: ...

    def finish(self) -> list[Piece]:
        """What was held back because it might have become a marker."""


class Dialect(Protocol):
    """A family of chat templates. The template itself is rendered by `workers.template`."""

    def template_variables(self, effort: str | None) -> dict[str, Any]:
        """What the template is told of `reasoning.effort`."""

    def parser(self, prompt: str) -> Parser:
        """A parser for the output that follows `prompt`, whose tail may have opened the reasoning."""
