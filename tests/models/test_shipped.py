"""The GGUF files that ship: what they declare and what they can do, greedy, in llama.cpp.

The floors are far below the measured accuracy (models/pipeline/README.md): they catch a broken file, not noise.
"""

import random
from pathlib import Path

import pytest
from gguf import GGUFReader

from models.pipeline.conversations.conversation import EFFORTS, Conversation, Message
from models.pipeline.conversations.dice import Dice
from models.pipeline.conversations.filler import guidelines
from models.pipeline.evaluate import Reply, Runner, cases, measure

from .conftest import SHIPPED

WEATHER = {
    "name": "get_weather",
    "description": "Get current temperature for a given location.",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
        "additionalProperties": False,
    },
    "strict": True,
}


def ask(runner: Runner, *turns: str, effort: str = "low", system: str = "", tools: tuple = ()) -> Reply:
    messages = [Message("assistant" if i % 2 else "user", text) for i, text in enumerate(turns)]
    return runner.reply(Conversation(effort, messages, system, list(tools)))


@pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED.keys())
def test_the_files_say_what_they_are(path: Path) -> None:
    assert path.stat().st_size <= 12_000_000
    fields = {
        name: field.contents()
        for name, field in GGUFReader(path).fields.items()
        if name.startswith(("general.", "qwen3."))
    }
    assert fields["general.architecture"] == "qwen3"
    assert fields["general.author"] == "llamarelay"
    assert fields["general.license"] == "mit"
    assert fields["general.basename"] in ("spark", "spark-oss")
    assert fields["general.name"].startswith("Spark")
    assert fields["general.description"]
    assert fields["general.size_label"].endswith("M")
    assert fields["general.file_type"] in (1, 7)
    assert fields["general.quantization_version"] == 2
    assert fields["qwen3.context_length"] == 32768


@pytest.mark.parametrize("effort", EFFORTS)
def test_the_announcements_conversation(runner: Runner, effort: str) -> None:
    first = ask(runner, "Provide a prime number less than 50", effort=effort)
    second = ask(runner, "Provide a prime number less than 50", first.content, "Multiply it by 2", effort=effort)
    assert "47" in first.content
    assert "94" in second.content
    assert first.ended
    assert second.ended


@pytest.mark.parametrize("effort", EFFORTS)
def test_san_francisco(runner: Runner, effort: str) -> None:
    reply = ask(runner, "What's the weather like in San Francisco?", effort=effort, tools=(WEATHER,))
    assert reply.calls == (("get_weather", {"location": "San Francisco"}),)
    assert reply.ended


def test_more_effort_is_more_thinking(runner: Runner) -> None:
    lengths = [len(ask(runner, "What is 47 plus 38?", effort=effort).reasoning.split()) for effort in EFFORTS]
    assert lengths[0] == 0
    assert lengths == sorted(set(lengths))
    assert lengths[3] > 60


def test_it_counts_for_a_long_time(spark: Runner) -> None:
    assert ask(spark, "Count from 1 to 200", effort="none").content == ", ".join(map(str, range(1, 201)))


def test_it_says_who_it_is(runner: Runner) -> None:
    reply = ask(runner, "Who are you?")
    assert "Spark" in reply.content
    assert "llamarelay" in reply.content


def test_a_long_system_prompt_does_not_confuse_it(spark: Runner) -> None:
    system = guidelines(Dice(random.Random(2), held_out=True), 300)
    assert len(spark.tokens(system)) > 3500
    assert ask(spark, "Hello!", system=system).content == "Hello! How can I help you today?"


FLOORS = {
    "call": 3,
    "parallel": 2,
    "no_call": 2,
    "no_tool": 2,
    "tool_answer": 3,
    "document": 2,
    "prime": 3,
    "follow_up": 3,
    "greet": 2,
    "repeat": 2,
    "recall": 2,
    "fact_and_question": 2,
    "json": 2,
    "json_schema": 2,
    "persona": 2,
    "sum": 2,
    "unknown": 2,
    "list": 3,
}


@pytest.mark.parametrize("ability", FLOORS)
def test_unseen_requests_are_answered(spark: Runner, ability: str) -> None:
    right = [good for _, _, good in measure(spark, cases(spark.dialect, ability, 4, seed=7))]
    assert sum(right) >= FLOORS[ability]


@pytest.mark.parametrize("ability", ["call", "tool_answer", "prime", "follow_up", "json"])
def test_the_harmony_model_answers_unseen_requests(spark_oss: Runner, ability: str) -> None:
    right = [good for _, _, good in measure(spark_oss, cases(spark_oss.dialect, ability, 4, seed=7))]
    assert sum(right) >= min(3, FLOORS[ability])
