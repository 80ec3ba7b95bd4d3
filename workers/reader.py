"""Reads what the engine generates: bytes to text, text to pieces, pieces to the emitter; and counts the tokens."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from shared.emitter import Emitter
from shared.schema.ids import new_id
from shared.schema.response import InputTokensDetails, OutputTokensDetails, Usage
from workers.dialects.base import Parser, Piece
from workers.dialects.toolbox import Toolbox
from workers.engine.core import Chunk, Engine
from workers.logprobs import LogprobTrail


@dataclass(slots=True)
class Counts:
    """Tokens of one response, over all its generations.

    `grain`: cached tokens are told in whole multiples of it. The cache serves all tenants, and an exact number would
    let one guess another's prompt token by token.
    """

    grain: int = 1
    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def usage(self) -> Usage:
        cached = self.cached // self.grain * self.grain
        return Usage(
            input_tokens=self.input,
            input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=self.input - cached),
            output_tokens=self.output,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=self.reasoning),
            total_tokens=self.input + self.output,
        )


class Reader:
    """The output of one generation on its way to the emitter."""

    def __init__(
        self, engine: Engine, parser: Parser, emitter: Emitter, counts: Counts, tools: Toolbox | None = None
    ) -> None:
        self._engine = engine
        self._parser = parser
        self._emitter = emitter
        self._counts = counts
        self._tools = tools or Toolbox()
        self._custom = False  # whether the call being read is one of a custom tool
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._trail = LogprobTrail(engine)

    def read(self, chunk: Chunk) -> None:
        """Passes a chunk on. A marker of the reasoning counts as reasoning, an end token as output."""
        for position, token in enumerate(chunk.tokens):
            if chunk.logprobs is not None:
                self._trail.add(chunk.logprobs[position])
            before = self._parser.reasoning
            self._emit(self._decode(self._engine.piece(token)))
            if self._count(before):
                self._trail.forget()
        self._counts.output += chunk.stop_token is not None

    def replay(self, tokens: Sequence[int]) -> None:
        """Reads what a lost worker had read, up to where its last event was made: nothing is emitted again."""
        for token in tokens:
            before = self._parser.reasoning
            self._follow(self._parser.feed(self._decode(self._engine.piece(token))))
            self._count(before)

    def finish(self) -> None:
        """Passes on what was held back."""
        self._emit(self._decode(b"", True), last=True)

    def _emit(self, text: str, *, last: bool = False) -> None:
        pieces = self._parser.feed(text)
        for piece in [*pieces, *self._parser.finish()] if last else pieces:
            self._pass_on(piece)

    def _count(self, before: bool) -> bool:
        """Counts one token; whether it belongs to the reasoning, as its markers do."""
        reasoning = before or self._parser.reasoning
        self._counts.output += 1
        self._counts.reasoning += reasoning
        return reasoning

    def _follow(self, pieces: Sequence[Piece]) -> None:
        """Keeps track of what kind of call is open."""
        for piece in pieces:
            if piece.kind == "call":
                tool = self._tools.get(piece.text)
                self._custom = tool is not None and tool.custom

    def _pass_on(self, piece: Piece) -> None:
        match piece.kind:
            case "text":
                self._emitter.text(piece.text, self._trail.take(piece.text), piece.phase)
            case "reasoning":
                self._emitter.reasoning(piece.text)
            case "call":
                self._open_call(piece.text)
            case "arguments" if self._custom:
                self._emitter.custom_input(piece.text)
            case "arguments":
                self._emitter.arguments(piece.text)
            case "call_end":
                self._emitter.close()

    def _open_call(self, name: str) -> None:
        self._trail.forget()
        tool = self._tools.get(name)
        self._custom = tool is not None and tool.custom
        client_name, namespace = (tool.tool.name, tool.namespace) if tool else (name, None)
        begin = self._emitter.open_custom_call if self._custom else self._emitter.open_call
        begin(client_name, new_id("call"), namespace=namespace)
