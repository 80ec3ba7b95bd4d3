"""ChatML with Hermes tool calls, as text with loss weights; `template-chatml.jinja` renders the same text."""

from .conversation import Conversation, Message
from .structured import dump

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
            "<tool_response>", "</tool_response>"]
CONTROL = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
BOS, EOS, PAD = "<|endoftext|>", "<|im_end|>", "<|endoftext|>"

TOOLS_HEAD = "# Tools\n\nYou may call one or more functions. The functions are in <tools></tools>:\n<tools>"
TOOLS_TAIL = ("\n</tools>\n\nFor each call, write:\n<tool_call>\n"
              "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>\n\n")

# A piece of text and how it is learned: 0 as context (a little), 1 as the model's own words, 2 as its own words except
# the first token, 3 not at all. An old turn is shown without its thinking and ends differently from a new one; neither
# may teach the model to do so.
Segment = tuple[str, int]


def _calls(message: Message) -> str:
    return "\n".join("<tool_call>\n" + dump({"name": c.name, "arguments": c.arguments}) + "\n</tool_call>"
                     for c in message.calls)


def render(conversation: Conversation) -> list[Segment]:
    """The segments of a conversation; joined, they are the template's text and the reply to it."""
    messages, effort = conversation.messages, conversation.effort
    head = "<|im_start|>system\n"
    if conversation.system:
        head += conversation.system + "\n\n"
    if conversation.tools:
        head += TOOLS_HEAD + "".join("\n" + dump(tool) for tool in conversation.tools) + TOOLS_TAIL
    out: list[Segment] = [(head + f"Reasoning: {effort}<|im_end|>\n", 0)]
    last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
    for i, m in enumerate(messages):
        if m.role == "user":
            out.append((f"<|im_start|>user\n{m.content}<|im_end|>\n", 0))
        elif m.role == "tool":
            opening = "" if i and messages[i - 1].role == "tool" else "<|im_start|>user"
            closing = "" if i + 1 < len(messages) and messages[i + 1].role == "tool" else "<|im_end|>\n"
            out.append((f"{opening}\n<tool_response>\n{m.content}\n</tool_response>{closing}", 0))
        else:
            body = m.content + ("\n" if m.content and m.calls else "") + _calls(m) + "<|im_end|>"
            out.append(("<|im_start|>assistant\n", 0))
            if effort == "none":
                if i == len(messages) - 1:
                    out.append(("<think>\n\n</think>\n\n", 0))
                out.append((body, 1))
            elif i > last_user and m.reasoning:
                out.append((f"<think>\n{m.reasoning}\n</think>\n\n{body}", 1))
            else:
                out.append((body, 2))
            out.append(("\n", 0))
    return out


def prompt(conversation: Conversation) -> str:
    """The text up to where the assistant goes on: what the template gives with `add_generation_prompt`."""
    text = "".join(t for t, _ in render(conversation)) + "<|im_start|>assistant\n"
    return text + ("<think>\n\n</think>\n\n" if conversation.effort == "none" else "")
