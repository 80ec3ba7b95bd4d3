"""From items to a prompt: the conversation as the chat template wants it, rendered and tokenized."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.redis.records import Context, Turn
from shared.schema.content import text_of
from shared.schema.items import Item, Message, OutputItem, Reasoning
from workers.dialects import detect
from workers.engine.core import Engine
from workers.template import ChatTemplate
from workers.truncation import truncate

LEAST_ANSWER_TOKENS = 1024
FALLBACK_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    tokens: list[int]


class Prompter:
    """Writes prompts for one loaded model: its template, its dialect, its tokenizer."""

    def __init__(self, engine: Engine) -> None:
        """Raises TemplateError where the model's template is no valid one."""
        source = engine.model.chat_template or FALLBACK_TEMPLATE
        self._engine = engine
        self._template = ChatTemplate(source, bos_token=engine.model.bos_token, eos_token=engine.model.eos_token)
        self.dialect = detect(source)
        self._knows_developer = "developer" in source

    def write(self, instructions: str | None, items: Iterable[Item | OutputItem], effort: str | None) -> Prompt:
        """The prompt for a conversation. Raises TemplateError where the template refuses it."""
        messages = self._messages(instructions, items)
        text = self._template.render(messages, self.dialect.template_variables(effort))
        return Prompt(text, self._engine.tokenize(text))

    def write_truncated(
        self, instructions: str | None, items: Sequence[Item | OutputItem], effort: str | None, room: int
    ) -> Prompt:
        """The prompt for the longest rest of a conversation that has at most `room` tokens."""

        def fits(rest: Sequence[Item | OutputItem]) -> bool:
            return len(self.write(instructions, rest, effort).tokens) <= room

        return self.write(instructions, truncate(items, fits), effort)

    def _messages(self, instructions: str | None, items: Iterable[Item | OutputItem]) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        thought: str | None = None
        if instructions:
            messages.append({"role": "system", "content": instructions})
        for item in items:
            if isinstance(item, Reasoning):
                thought = "".join(part.text for part in item.content or ())
                continue
            if not isinstance(item, Message):
                continue
            message = self._message(item)
            if thought and item.role == "assistant":
                message["reasoning_content"] = thought
            thought = None
            messages.append(message)
        return _merge_leading_system(messages)

    def _message(self, item: Message) -> dict[str, Any]:
        role = "system" if item.role == "developer" and not self._knows_developer else item.role
        return {"role": role, "content": "\n".join(map(text_of, item.content))}


def room_for_prompt(context_length: int, max_output_tokens: int | None) -> int:
    """Tokens a truncated prompt may have: an answer needs room too, a quarter of the context at most."""
    answer = min(max_output_tokens or LEAST_ANSWER_TOKENS, context_length // 4)
    return context_length - max(answer, 1)


def conversation(context: Context) -> Iterable[Item | OutputItem]:
    """Every item of a chain in order: each turn's input and output, then the response's own input."""
    for turn in context.ancestors:
        yield from turn_items(turn)
    yield from context.input


def turn_items(turn: Turn) -> Iterable[Item | OutputItem]:
    """What one response took in, then what it put out."""
    yield from turn.input
    yield from turn.output


def _merge_leading_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Templates expect one system message at the start: instructions and leading system messages become one."""
    leading = 0
    while leading < len(messages) and messages[leading]["role"] == "system":
        leading += 1
    if leading < 2:
        return messages
    merged = "\n\n".join(message["content"] for message in messages[:leading])
    return [{"role": "system", "content": merged}, *messages[leading:]]
