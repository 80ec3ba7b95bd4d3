"""From items to a prompt: the conversation as the chat template wants it, rendered and tokenized."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from msgspec import UnsetType

from shared.schema.content import InputImage, InputPart, MessagePart, text_of
from shared.schema.items import (
    Compaction,
    CustomToolCall,
    CustomToolCallOutput,
    FunctionCall,
    FunctionCallOutput,
    Item,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    OutputItem,
    Reasoning,
)
from workers.dialects import detect
from workers.dialects.base import Dialect
from workers.dialects.history import Messages, assistant, output
from workers.dialects.repair import repaired
from workers.dialects.toolbox import INPUT, OfferedTool, Toolbox
from workers.engine.core import Engine, ImageCells, Picture
from workers.excerpts import Excerpts
from workers.outcomes import outcome, refusal
from workers.pictures import Pictures
from workers.spelled import Markers
from workers.template import TemplateError
from workers.templates import Template, Templates


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    tokens: list[int]
    images: tuple[ImageCells, ...] = ()


class Prompter:
    """Writes prompts for one loaded model: its template, its dialect, its tokenizer."""

    def __init__(self, engine: Engine, template: Template, dialect: Dialect) -> None:
        self._engine = engine
        self._excerpts = Excerpts(engine)
        self._template = template
        self.dialect = dialect
        self.traits = template.traits
        self._markers = Markers(engine, template.source, getattr(dialect, "think", ()))
        knows = ("reasoning_effort", "thinking_budget")
        self.needs_budget = not any(word in template.source for word in knows)  # else the template tells how much

    @classmethod
    async def load(cls, engine: Engine, templates: Templates) -> Prompter:
        """Raises TemplateError where the model has no template, or one that cannot be used."""
        model = engine.model
        if not model.chat_template:
            raise TemplateError("it has no chat template (tokenizer.chat_template), which an instruction model needs")
        dialect = detect(model.chat_template)
        variables = dialect.template_variables(None)
        template = await templates.load(
            model.chat_template, variables, bos_token=model.bos_token, eos_token=model.eos_token
        )
        return cls(engine, template, dialect)

    async def write(
        self,
        instructions: str | None,
        items: Iterable[Item | OutputItem],
        effort: str | None,
        tools: Toolbox | None = None,
    ) -> Prompt:
        """The prompt for a conversation. Raises TemplateError where the template refuses it, PictureRefused where the
        model cannot be shown what is in it."""
        pictures = Pictures()
        spelled = self._markers.spelled()
        messages = spelled.messages(to_messages(instructions, items, tools or Toolbox(), pictures, self._excerpts.of))
        prepared, offered = self.dialect.prepare(messages, tools, self.traits)
        variables = self.dialect.template_variables(effort)
        if offered:
            variables["tools"] = spelled.tools(offered)
        text = await self._rendered(prepared, variables)
        parts = spelled.cut(pictures.split(text))
        if any(isinstance(part, Picture) for part in parts):
            reading = self._engine.read(parts)
            return Prompt(spelled.whole(text), reading.tokens, reading.images)
        return Prompt(spelled.whole(text), self._tokens([str(part) for part in parts]))

    async def _rendered(self, messages: Messages, variables: dict[str, Any]) -> str:
        """The text of a conversation; where the template refuses it, that of the same one as strict templates want
        it. Raises TemplateError where it refuses that too."""
        try:
            return await self._template.render(messages, variables)
        except TemplateError:
            if (others := repaired(messages)) == messages:
                raise
            with suppress(TemplateError):
                return await self._template.render(others, variables)
            raise

    async def showable(self, tools: Toolbox) -> Toolbox:
        """The tools without those of remote servers that the template refuses: nobody here has written them."""
        remote = [tool for tool in tools if tool.server]
        refused = {tool.name for tool in await self._refused(tools, remote)}
        return tools.only(tool for tool in tools if tool.name not in refused)

    async def _refused(self, tools: Toolbox, suspects: Sequence[OfferedTool]) -> list[OfferedTool]:
        """Those among `suspects` that the template refuses."""
        if not suspects or await self._shows(tools.only(suspects)):
            return []
        if len(suspects) == 1:
            return [*suspects]
        half = len(suspects) // 2
        return [*await self._refused(tools, suspects[:half]), *await self._refused(tools, suspects[half:])]

    async def _shows(self, tools: Toolbox) -> bool:
        prepared, offered = self.dialect.prepare([{"role": "user", "content": "Hello"}], tools, self.traits)
        try:
            await self._template.render(prepared, {**self.dialect.template_variables(None), "tools": offered})
        except TemplateError:
            return False
        return True

    def _tokens(self, parts: Sequence[str]) -> list[int]:
        """Tokens of a text in parts, which are tokenized one by one."""
        tokens = self._engine.tokenize(parts[0] if parts else "")
        for part in parts[1:]:
            tokens += self._engine.tokenize(part)[self._engine.model.adds_bos :]
        return tokens


def to_messages(
    instructions: str | None,
    items: Iterable[Item | OutputItem],
    tools: Toolbox,
    pictures: Pictures | None = None,
    excerpt: Callable[[str], str] = str,
) -> Messages:
    """The conversation in the form of `workers.dialects.history`.

    What the assistant did without hearing anything in between (its reasoning, its words, its calls) is one message.
    Images are collected in `pictures`, their marks stand in the text. Of what remote servers say, an `excerpt`.
    """
    pictures = Pictures() if pictures is None else pictures
    messages: Messages = [{"role": "system", "content": instructions}] if instructions else []
    said = _Said()
    names: dict[str, str] = {}
    asked: dict[str, McpApprovalRequest] = {}
    for item in items:
        if isinstance(item, McpListTools):
            continue  # the template has its tools
        if isinstance(item, McpApprovalRequest):
            asked[item.id] = item
        elif isinstance(item, McpApprovalResponse):
            if not item.approve and (refused := asked.get(item.approval_request_id)):
                messages += said.call(refused, tools, refusal(item.reason))
        elif isinstance(item, McpCall):
            messages += said.call(item, tools, excerpt(outcome(item)))
        elif isinstance(item, Reasoning):
            if said.text or said.calls:
                messages += said.take()
            said.reasoning += "".join(part.text for part in item.content or ())
        elif isinstance(item, FunctionCall):
            names[item.call_id] = tools.name_of(item.name, _namespace(item.namespace))
            said.calls.append((item.call_id, names[item.call_id], _arguments(item.arguments)))
        elif isinstance(item, CustomToolCall):
            names[item.call_id] = tools.name_of(item.name, _namespace(item.namespace))
            said.calls.append((item.call_id, names[item.call_id], {INPUT: item.input}))
        elif isinstance(item, FunctionCallOutput | CustomToolCallOutput):
            messages += said.take()
            messages.append(
                output(item.call_id, names.get(item.call_id, "unknown"), _output_text(item.output, pictures))
            )
        elif isinstance(item, Compaction):
            raise ValueError("a compaction is opened by workers.conversation before it gets here")
        elif item.role == "assistant":
            said.text.append(_text(item.content, pictures))
        else:
            messages += said.take()
            messages.append({"role": item.role, "content": _text(item.content, pictures)})
    return messages + said.take()


@dataclass(slots=True)
class _Said:
    """What the assistant has said since it last heard something."""

    reasoning: str = ""
    text: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def call(self, call: McpCall | McpApprovalRequest, tools: Toolbox, outcome: str) -> Messages:
        """It with a remote call, and what came of that."""
        name = tools.name_of(call.name, call.server_label, remote=True)
        self.calls.append((call.id, name, _arguments(call.arguments)))
        return [*self.take(), output(call.id, name, outcome)]

    def take(self) -> Messages:
        """It as one message; none where there is nothing but reasoning, which no template shows alone."""
        taken: Messages = []
        if self.text or self.calls:
            taken.append(assistant("\n\n".join(self.text), reasoning=self.reasoning, calls=self.calls))
        self.reasoning, self.text, self.calls = "", [], []
        return taken


def _text(parts: Iterable[MessagePart], pictures: Pictures) -> str:
    """Parts in order: texts on lines of their own, images where they stand between them."""
    text, after_text = "", False
    for part in parts:
        if isinstance(part, InputImage):
            text, after_text = text + pictures.mark(part), False
        else:
            text, after_text = text + ("\n" if after_text else "") + text_of(part), True
    return text


def _output_text(given: str | Sequence[InputPart], pictures: Pictures) -> str:
    return given if isinstance(given, str) else _text(given, pictures)


def _namespace(value: str | UnsetType | None) -> str | None:
    return value if isinstance(value, str) else None


def _arguments(text: str) -> dict[str, Any]:
    """A call's arguments as an object. What is none, as only a client can make up, is kept as its one argument."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {INPUT: text}
