"""The chat templates inside the GGUF files render exactly what the models were trained on."""

import json
import random
from typing import Any

import jinja2.sandbox
import pytest

from models.pipeline.conversations.conversation import Conversation
from models.pipeline.conversations.dice import Dice
from models.pipeline.conversations.mix import sample
from models.pipeline.evaluate import Runner
from models.pipeline.packing import CHATML, DIALECTS, HARMONY, Dialect
from models.pipeline.tokenizer import HERE


def template(dialect: Dialect) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string((HERE / dialect.template).read_text())


def as_openai(conversation: Conversation) -> list[dict[str, Any]]:
    """The messages as a chat client sends them; arguments are sometimes JSON text."""
    out: list[dict[str, Any]] = []
    if conversation.system:
        out.append({"role": "developer" if len(conversation.system) % 2 else "system", "content": conversation.system})
    for i, m in enumerate(conversation.messages):
        message: dict[str, Any] = {"role": m.role, "content": m.content or None if m.calls else m.content}
        if m.reasoning:
            message["reasoning_content"] = m.reasoning
        if m.calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{i}",
                    "type": "function",
                    "function": {
                        "name": c.name,
                        "arguments": json.dumps(c.arguments, ensure_ascii=False) if i % 2 else c.arguments,
                    },
                }
                for c in m.calls
            ]
        out.append(message)
    return out


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
def test_the_template_renders_what_the_generator_renders(dialect: Dialect) -> None:
    d, jinja = Dice(random.Random(21)), template(dialect)
    for _ in range(500):
        conversation = dialect.unroll(sample(d))
        replies = [i for i, m in enumerate(conversation.messages) if m.role == "assistant"]
        asked = Conversation(
            conversation.effort, conversation.messages[: d.pick(replies)], conversation.system, conversation.tools
        )
        tools = [{"type": "function", "function": tool} for tool in conversation.tools] or None
        rendered = jinja.render(
            messages=as_openai(asked), tools=tools, add_generation_prompt=True, reasoning_effort=asked.effort
        )
        assert rendered == dialect.prompt(asked)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("none", "none"),
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "medium"),
        ("high", "high"),
        ("xhigh", "high"),
        (None, "medium"),
    ],
)
def test_every_effort_maps_to_a_trained_one(dialect: Dialect, given: str | None, shown: str) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    text = template(dialect).render(messages=messages, add_generation_prompt=True, reasoning_effort=given)
    assert f"Reasoning: {shown}" in text
    if given is None:
        assert text == template(dialect).render(messages=messages, add_generation_prompt=True)


def test_thinking_switched_off_closes_it_at_once() -> None:
    text = template(CHATML).render(
        messages=[{"role": "user", "content": "Hi"}],
        add_generation_prompt=True,
        enable_thinking=False,
        reasoning_effort="high",
    )
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert "Reasoning: none" in text


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
def test_content_may_be_parts_or_nothing(dialect: Dialect) -> None:
    plain = [{"role": "system", "content": "A"}, {"role": "user", "content": "Hi there"}]
    parts = [
        {"role": "system", "content": [{"type": "text", "text": "A"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi "}, {"text": "there"}]},
    ]
    jinja = template(dialect)
    assert jinja.render(messages=plain) == jinja.render(messages=parts)
    assert jinja.render(messages=[*plain, {"role": "assistant", "content": None}])


def test_harmony_puts_each_result_behind_its_call() -> None:
    calls = [{"function": {"name": "f", "arguments": {"a": n}}} for n in (1, 2)]
    text = template(HARMONY).render(
        messages=[
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "content": "one"},
            {"role": "tool", "content": 'say "two"'},
        ],
        add_generation_prompt=True,
    )
    frames = (
        '<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{"a": %d}<|call|>'
        "<|start|>functions.f to=assistant<|channel|>commentary<|message|>%s<|end|>"
    )
    assert text.endswith(frames % (1, '"one"') + frames % (2, '"say \\"two\\""') + "<|start|>assistant")


def test_the_shipped_files_hold_these_templates(runner: Runner) -> None:
    assert runner.metadata["tokenizer.chat_template"] == (HERE / runner.dialect.template).read_text()
