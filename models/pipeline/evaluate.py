"""Measures a GGUF file in llama.cpp: greedy, held-out phrasings and values, exact answers.

    python -m models.pipeline.evaluate models/llamarelay/spark/spark-Q8_0.gguf --cases 60

Every case is the last reply of a fresh conversation; the efforts are mixed. A story has no single right text: it must
name its hero, end with "The end." and have 80 words or more.
"""

import argparse
import collections
import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import llama_cpp

from .conversations.agents import act
from .conversations.chats import json_talk, talk
from .conversations.conversation import Conversation, Message
from .conversations.dice import Dice
from .packing import DIALECTS, Dialect

ABILITIES = [
    "call",
    "parallel",
    "no_call",
    "no_tool",
    "tool_answer",
    "tool_error",
    "document",
    "prime",
    "follow_up",
    "greet",
    "identity",
    "count",
    "list",
    "capital",
    "story",
    "repeat",
    "recall",
    "fact",
    "fact_and_question",
    "summary",
    "sum",
    "compare",
    "json",
    "json_schema",
    "persona",
    "unknown",
    "continue",
    "poem",
]
LONGEST = 8000  # characters of a prompt; the longer ones would take most of the time


@dataclass(frozen=True, slots=True)
class Case:
    """A conversation that ends with the expected reply."""

    ability: str
    conversation: Conversation

    @property
    def expected(self) -> Message:
        return self.conversation.messages[-1]


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed generation; `calls` are (name, arguments)."""

    reasoning: str
    content: str
    calls: tuple[tuple[str, Any], ...]
    tokens: int
    ended: bool


class Runner:
    """Greedy generation with llama.cpp, one prompt at a time."""

    def __init__(self, path: Path, context: int = 16384, threads: int = 1) -> None:
        self._llama = llama_cpp.Llama(
            str(path), n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False
        )
        self._vocab = llama_cpp.llama_model_get_vocab(self._llama.model)
        self.metadata: dict[str, str] = self._llama.metadata
        self.dialect = DIALECTS["spark-oss" if self.metadata["general.basename"] == "spark-oss" else "spark"]

    def tokens(self, text: str) -> list[int]:
        return list(self._llama.tokenize(text.encode(), add_bos=False, special=True))

    def ends(self, token: int) -> bool:
        """Whether llama.cpp takes the token for the end of a generation."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def generate(self, text: str, limit: int = 3000) -> tuple[list[int], bool]:
        """Generated token ids and whether the model ended its turn."""
        out: list[int] = []
        for token in self._llama.generate(self.tokens(text), temp=0.0, top_k=1, repeat_penalty=1.0):
            if self.ends(token):
                return out, True
            out.append(token)
            if len(out) >= limit:
                break
        return out, False

    def reply(self, conversation: Conversation, limit: int = 3000) -> Reply:
        ids, ended = self.generate(self.dialect.prompt(conversation), limit)
        text = self._llama.detokenize(ids, special=True).decode("utf-8", "replace")
        parse = parse_harmony if self.dialect.name == "spark-oss" else parse_chatml
        return Reply(*parse(text), tokens=len(ids), ended=ended)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_chatml(text: str) -> tuple[str, str, tuple[tuple[str, Any], ...]]:
    reasoning, _, rest = text.rpartition("</think>")
    parts = re.split(r"<tool_call>\n(.*?)\n</tool_call>", rest, flags=re.DOTALL)
    calls = [_json(part) for part in parts[1::2]]
    return (
        reasoning.removeprefix("<think>").strip("\n"),
        "".join(parts[::2]).strip("\n") if calls else rest.lstrip("\n"),
        tuple((c.get("name"), c.get("arguments")) if isinstance(c, dict) else ("", c) for c in calls),
    )


def parse_harmony(text: str) -> tuple[str, str, tuple[tuple[str, Any], ...]]:
    reasoning, content, calls = "", "", []
    for frame in ("<|start|>assistant" + text).split("<|start|>assistant")[1:]:
        head, _, body = frame.partition("<|message|>")
        body = body.removesuffix("<|end|>")
        target = re.search(r"to=functions\.([^\s<]+)", head)
        if target:
            calls.append((target[1], _json(body)))
        elif "analysis" in head:
            reasoning += body
        else:
            content += body
    return reasoning, content, tuple(calls)


def correct(case: Case, reply: Reply) -> bool:
    """Whether the reply is right: the same calls in the same order, or the same text."""
    expected = case.expected
    if not reply.ended:
        return False
    if expected.calls:
        return reply.calls == tuple((c.name, c.arguments) for c in expected.calls)
    if reply.calls:
        return False
    if case.ability == "story":
        hero = re.search(r"(?:called|named) (\w+)|about (\w+) the", case.conversation.messages[-2].content)
        name = next((g for g in hero.groups() if g), "") if hero else ""
        return "The end." in reply.content and len(reply.content.split()) >= 80 and name in reply.content
    return reply.content == expected.content


def cases(dialect: Dialect, ability: str, count: int, seed: int) -> Iterator[Case]:
    """Held-out conversations that end with a reply of the ability."""
    d = Dice(random.Random(f"{seed} {ability}"), held_out=True)
    made = 0
    while made < count:
        if ability == "persona":
            conversation = talk(d, turns=d.pick([1, 2]), with_persona=True)
            decorated = [
                i
                for i, m in enumerate(conversation.messages)
                if m.role == "assistant"
                and m.ability not in ("story", "short_story", "json", "json_schema", "repeat", "read", "document")
            ]
            ends = decorated if conversation.system else []
        else:
            in_tools = ability in ("call", "parallel", "no_call", "no_tool", "tool_answer", "tool_error", "document")
            conversation = (
                json_talk(d)
                if ability == "json_schema"
                else dialect.unroll(act(d) if in_tools and (ability != "document" or d.chance(0.8)) else talk(d))
            )
            ends = [i for i, m in enumerate(conversation.messages) if m.ability == ability]
        if not ends:
            continue
        case = Case(ability, replace(conversation, messages=conversation.messages[: d.pick(ends) + 1]))
        if len(dialect.prompt(case.conversation)) <= LONGEST:
            made += 1
            yield case


def measure(runner: Runner, wanted: Iterable[Case]) -> Iterator[tuple[Case, Reply, bool]]:
    for case in wanted:
        asked = replace(case.conversation, messages=case.conversation.messages[:-1])
        reply = runner.reply(asked)
        yield case, reply, correct(case, reply)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--cases", type=int, default=60, help="cases per ability")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=ABILITIES)
    parser.add_argument("--show", type=int, default=0, help="print this many wrong replies per ability")
    a = parser.parse_args()
    runner = Runner(a.gguf, threads=a.threads)
    lengths: dict[str, list[int]] = collections.defaultdict(list)
    by_effort: dict[str, list[bool]] = collections.defaultdict(list)
    for ability in a.only:
        right, shown = 0, 0
        for case, reply, good in measure(runner, cases(runner.dialect, ability, a.cases, a.seed)):
            right += good
            effort = case.conversation.effort
            lengths[effort].append(len(runner.tokens(reply.reasoning)))
            by_effort[effort].append(good)
            if not good and shown < a.show:
                shown += 1
                print("   asked:", repr(case.conversation.messages[-2].content[-200:]), effort)
                print(
                    "   wanted:",
                    [(c.name, c.arguments) for c in case.expected.calls] or repr(case.expected.content[:200]),
                )
                print("   got:", list(reply.calls) or repr(reply.content[:200]), "|", repr(reply.reasoning[-120:]))
        print(f"| {ability} | {right}/{a.cases} | {100 * right / a.cases:.0f} % |", flush=True)
    for effort in ("none", "low", "medium", "high"):
        if by_effort[effort]:
            share = 100 * sum(by_effort[effort]) / len(by_effort[effort])
            print(
                f"| effort {effort} | {len(by_effort[effort])} cases, {share:.0f} % right | "
                f"{sum(lengths[effort]) / len(lengths[effort]):.0f} tokens of thinking |"
            )


if __name__ == "__main__":
    main()
