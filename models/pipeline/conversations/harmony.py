"""OpenAI's Harmony format (gpt-oss), as text with loss weights; `template-harmony.jinja` renders the same text.

Format: https://cookbook.openai.com/articles/openai-harmony. Calls are made one at a time; a result is JSON-quoted.
"""

import json
from dataclasses import replace
from typing import Any

from .chatml import Segment
from .conversation import Conversation, Message, Thought
from .structured import dump, plain

SPECIALS = ["<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>",
            "<|message|>", "<|call|>"]
CONTROL = set(SPECIALS)
BOS, EOS, PAD = "<|startoftext|>", "<|return|>", "<|endoftext|>"

_SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}


def _type(schema: dict[str, Any]) -> str:
    """The TypeScript type of a JSON schema, as far as the template knows it."""
    kind = schema.get("type")
    if schema.get("enum"):
        nullable = " | null" if isinstance(kind, list) else ""
        return " | ".join(json.dumps(x, ensure_ascii=False) for x in schema["enum"]) + nullable
    if isinstance(kind, list):
        return " | ".join(_SIMPLE.get(k, k) for k in kind)
    if kind == "array":
        return _type(schema["items"]) + "[]" if schema.get("items") else "any[]"
    if kind == "object":
        if not schema.get("properties"):
            return "object"
        required = schema.get("required", [])
        return "{ " + ", ".join(f"{k}{'' if k in required else '?'}: {_type(v)}"
                                for k, v in schema["properties"].items()) + " }"
    return _SIMPLE.get(kind or "", "any")


def declaration(function: dict[str, Any]) -> str:
    """A function as a TypeScript type."""
    out = f"// {function['description']}\n" if function.get("description") else ""
    parameters = function.get("parameters") or {}
    if not parameters.get("properties"):
        return out + f"type {function['name']} = () => any;\n\n"
    out += f"type {function['name']} = (_: {{\n"
    for key, schema in parameters["properties"].items():
        if schema.get("description"):
            out += f"// {schema['description']}\n"
        out += f"{key}{'' if key in parameters.get('required', []) else '?'}: {_type(schema)},\n"
    return out + "}) => any;\n\n"


def sequential(conversation: Conversation) -> Conversation:
    """The same conversation with one call per message, each followed by its result."""
    out: list[Message] = []
    messages = conversation.messages
    for i, m in enumerate(messages):
        if m.role == "tool" and out and i and len(_calls_before(messages, i)) > 1:
            continue
        if len(m.calls) < 2:
            out.append(m)
            continue
        answers = [x for x in messages[i + 1:i + 1 + len(m.calls)] if x.role == "tool"]
        for k, call in enumerate(m.calls[:max(1, len(answers))]):
            said = ", ".join(f"{key} {plain(v)}" for key, v in call.arguments.items() if not isinstance(v, (dict,
                                                                                                            list)))
            step = f"I call {call.name} with {said}." if said and len(said) < 60 else f"I call {call.name}."
            again = Thought("do more with a function", "a request for several calls",
                            (f"This is call {k + 1} of {len(m.calls)}.", step)).write(conversation.effort)
            out.append(replace(m, calls=[call], reasoning=again if k else m.reasoning))
            out += answers[k:k + 1]
    return replace(conversation, messages=out)


def _calls_before(messages: list[Message], i: int) -> list[Any]:
    while messages[i].role == "tool":
        i -= 1
    return messages[i].calls


def render(conversation: Conversation) -> list[Segment]:
    """The segments of a conversation; see `chatml.render`."""
    conversation = sequential(conversation)
    head = ("<|start|>system<|message|>You are Spark, a small language model made for llamarelay.\n\n"
            f"Reasoning: {conversation.effort}\n\n"
            "# Valid channels: analysis, commentary, final. Channel must be included for every message.")
    if conversation.tools:
        head += "\nCalls to these tools must go to the commentary channel: 'functions'."
    head += "<|end|>"
    if conversation.system or conversation.tools:
        head += "<|start|>developer<|message|>"
        if conversation.system:
            head += f"# Instructions\n\n{conversation.system}\n\n"
        if conversation.tools:
            head += ("# Tools\n\n## functions\n\nnamespace functions {\n\n" + "".join(map(declaration,
                                                                                          conversation.tools))
                     + "} // namespace functions")
        head += "<|end|>"
    out: list[Segment] = [(head, 0)]
    messages = conversation.messages
    last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
    caller = ""
    for i, m in enumerate(messages):
        live, final = i > last_user, i == len(messages) - 1
        if m.role == "user":
            out.append((f"<|start|>user<|message|>{m.content}<|end|>", 0))
        elif m.role == "tool":
            out.append((f"<|start|>functions.{caller} to=assistant<|channel|>commentary<|message|>"
                        f"{dump(m.content)}<|end|>", 0))
        else:
            thinking = live and m.reasoning and (m.calls or final)
            if thinking:
                out += [("<|start|>assistant", 0), (f"<|channel|>analysis<|message|>{m.reasoning}<|end|>", 1)]
            out.append(("<|start|>assistant", 1 if thinking else 0))
            weight = 1 if thinking or conversation.effort == "none" else 2
            if m.calls:
                caller = m.calls[0].name
                arguments = dump(m.calls[0].arguments)
                if final:
                    out.append((f"<|channel|>commentary to=functions.{caller} <|constrain|>json<|message|>"
                                f"{arguments}<|call|>", weight))
                else:
                    out += [(" to=functions.", 3),
                            (f"{caller}<|channel|>commentary json<|message|>{arguments}<|call|>", 1)]
            else:
                out.append(("<|channel|>final", weight if weight == 1 else 3))
                out.append((f"<|message|>{m.content}", 1))
                out.append(("<|return|>", 1) if final else ("<|end|>", 3))
    return out


def prompt(conversation: Conversation) -> str:
    """The text up to where the assistant goes on."""
    return "".join(t for t, _ in render(conversation)) + "<|start|>assistant"
