"""Every benchmark in its smallest size, on a small model of its own: what it writes, and that no event is lost.

No times are judged here.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from bench import __main__ as bench
from bench import compare, models, wire
from bench.load import Clients, clients
from bench.plan import Plan
from bench.report import Report
from bench.stack import Stack

TINY = models.Shape("random-tiny", width=64, layers=2, heads=1, kv_heads=1, hidden=64)
TOKENS = 24


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("models")
    return Plan(
        TINY.key,
        folder,
        models.ensure(TINY, folder),
        rounds=1,
        decode={1: 600, 2: 400},  # long enough to run at once, however slow the machine is
        prompt=4,
        first_tokens=2,
        prefix=40,
        sharers=4,
        constrained=2,
        relay_clients=20,
        relay_rates=(400,),
        relay_seconds=0.5,
        relay_burst=10,
        rest=0.0,
    )


@pytest.fixture(scope="module")
def stack(plan: Plan) -> Iterator[Stack]:
    with Stack(models_dir=plan.models_dir, models=(plan.model,), default_model=plan.model) as stack:
        yield stack


@pytest.fixture(scope="module")
def load() -> Iterator[Clients]:
    with clients() as load:
        yield load


def test_each_benchmark_writes_its_figures(plan: Plan, tmp_path: Path) -> None:
    report = Report(Console(file=io.StringIO()))
    bench.run(plan, report, list(bench.NAMES))
    report.show()
    document = json.loads(report.save(tmp_path / "figures.json").read_bytes())
    assert set(document) == {"time", "machine", "results"}
    assert document["machine"]["cores"] >= 1
    assert {result["bench"] for result in document["results"]} == set(bench.NAMES)
    for result in document["results"]:
        _check_figure(result)
    units = [result["unit"] for result in document["results"] if result["bench"] == "decode"]
    assert units == ["tokens/s", "ratio", "ratio"] * len(plan.decode)
    constrained, free, _ = [result for result in document["results"] if result["bench"] == "grammar"]
    assert constrained["details"]["tokens"] == free["details"]["tokens"] > 0  # one round: the very same lengths


def test_a_random_model_says_as_many_words_as_it_is_asked_for(plan: Plan, stack: Stack, load: Clients) -> None:
    texts = [plan.writer.text(words) for words in (1, 5, 50)]
    streams = [wire.read(one) for one in load.ask(plan.post(stack.url, texts, TOKENS)).connections]
    for stream in streams:
        assert stream.faults() == []
        assert stream.done
        assert stream.closed
        assert stream.tokens == TOKENS
        said = "".join(event.delta for _, event in stream.events if event.characters)
        assert len(said.split()) == TOKENS
        assert len(said) == TOKENS * 7
        kinds = [event.type for _, event in stream.events]
        assert kinds[-1] == "response.incomplete"  # it was cut, and did not stop by itself


def test_two_servers_are_compared(stack: Stack, tmp_path: Path) -> None:
    base = stack.url.removesuffix("/responses")
    figures = tmp_path / "compare.json"
    arguments = f"--ours {base} --peer {base}/ --streams 1,3 --schema-streams 2 --tokens 100 --rounds 1".split()
    arguments += ["--json", str(figures)]
    result = CliRunner().invoke(compare.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    results = json.loads(figures.read_bytes())["results"]
    for one in results:
        _check_figure(one)
    for what, cases in (("complete streams", 3), ("answers by the schema", 1)):
        shares = [one["value"] for one in results if one["case"].endswith(what)]
        assert shares == [1.0] * 3 * cases


def _check_figure(result: dict[str, Any]) -> None:
    assert result["samples"]
    assert all(isinstance(sample, float) for sample in result["samples"])
    assert result["low"] <= result["value"] <= result["high"]
    assert result["load"] >= 0
    assert {"bench", "case", "unit", "aim", "met", "others", "stolen", "details"} <= set(result)
