"""Reads what the engine generates: bytes to text, text to pieces, pieces to the emitter; and counts the tokens."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from shared.emitter import Emitter
from shared.schema.ids import new_id
from workers.counts import Counts
from workers.dialects.base import Parser, Piece
from workers.dialects.toolbox import OfferedTool, Toolbox
from workers.engine.core import Chunk, Engine
from workers.logprobs import LogprobTrail
from workers.thoughts import Thoughts


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
        self._tool: OfferedTool | None = None  # the one whose call is being read
        self._withheld: list[str] = []  # arguments of a call that has to be approved first
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._trail = LogprobTrail(engine)
        self._thoughts = Thoughts(parser)
        self._counted = 0  # tokens of reasoning

    def read(self, chunk: Chunk) -> None:
        """Passes a chunk on. A marker of the reasoning counts as reasoning, an end token as output."""
        for position, token in enumerate(chunk.tokens):
            if chunk.logprobs is not None:
                self._trail.add(chunk.logprobs[position])
            before = self._parser.reasoning
            text = self._decode(self._engine.piece(token))
            self._emit(text)
            self._count(text)
            if before or self._parser.reasoning:
                self._trail.forget()
        self._counts.output += chunk.stop_token is not None

    def replay(self, tokens: Sequence[int]) -> None:
        """Reads what a lost worker had read, up to where its last event was made: nothing is emitted again."""
        for token in tokens:
            text = self._decode(self._engine.piece(token))
            self._follow(self._parser.feed(text))
            self._count(text)

    def finish(self) -> None:
        """Passes on what was held back."""
        self._emit(self._decode(b"", True), last=True)
        self._count_thoughts()

    def _emit(self, text: str, *, last: bool = False) -> None:
        pieces = self._parser.feed(text)
        for piece in [*pieces, *self._parser.finish()] if last else pieces:
            self._pass_on(piece)

    def _count(self, text: str) -> None:
        """Counts the token that gave this text."""
        self._counts.output += 1
        self._thoughts.add(len(text))
        self._count_thoughts()

    def _count_thoughts(self) -> None:
        before, self._counted = self._counted, self._thoughts.tokens
        self._counts.reasoning += self._counted - before

    def _follow(self, pieces: Sequence[Piece]) -> None:
        """Keeps track of the call that is open."""
        for piece in pieces:
            if piece.kind == "call":
                self._begin_call(piece.text)
            elif piece.kind == "arguments" and self._tool and self._tool.needs_approval:
                self._withheld.append(piece.text)

    def _pass_on(self, piece: Piece) -> None:
        match piece.kind:
            case "text":
                self._emitter.text(piece.text, self._trail.take(piece.text), piece.phase)
            case "reasoning":
                self._emitter.reasoning(piece.text)
            case "call":
                self._open_call(piece.text)
            case "arguments":
                self._pass_on_arguments(piece.text)
            case "call_end":
                self._end_call()

    def _begin_call(self, name: str) -> None:
        self._tool = self._tools.get(name)
        self._withheld = []

    def _open_call(self, name: str) -> None:
        self._trail.forget()
        self._begin_call(name)
        match self._tool:
            case None:
                self._emitter.open_call(name, new_id("call"))
            case OfferedTool(needs_approval=True):
                pass  # it becomes a request when it is complete
            case OfferedTool(server=str(label)) as tool:
                self._emitter.open_mcp_call(tool.tool.name, label)
            case tool:
                begin = self._emitter.open_custom_call if tool.custom else self._emitter.open_call
                begin(tool.tool.name, new_id("call"), namespace=tool.namespace)

    def _pass_on_arguments(self, text: str) -> None:
        match self._tool:
            case OfferedTool(needs_approval=True):
                self._withheld.append(text)
            case OfferedTool(server=str()):
                self._emitter.mcp_arguments(text)
            case OfferedTool(custom=True):
                self._emitter.custom_input(text)
            case _:
                self._emitter.arguments(text)

    def _end_call(self) -> None:
        tool = self._tool
        if tool and tool.needs_approval and tool.server:
            self._emitter.mcp_approval_request(tool.tool.name, tool.server, "".join(self._withheld))
        self._emitter.close()
