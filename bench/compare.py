"""The same load on two servers of `/v1/responses`, in turn, as ratios: ours / theirs.

    python bench/compare.py --ours http://127.0.0.1:8080 --peer http://127.0.0.1:1234 --model-peer google/gemma-3-12b

Both should serve the same model file on the same machine; while one is measured, the other one idles.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

if __package__ in (None, ""):  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click

from bench import ticket, wire
from bench.load import Clients, Post, clients
from bench.report import Report, console_of_width
from bench.wire import Stream
from bench.words import Writer

Measure = Callable[[list[Stream]], float]
MEASURES: tuple[tuple[str, str, Measure], ...] = (
    ("tokens per second, prompts included", "tokens/s", wire.throughput),
    ("time to first text", "ms", lambda streams: 1000 * median(stream.first_text for stream in streams)),
    ("time to first event", "ms", lambda streams: 1000 * median(stream.first_event for stream in streams)),
    ("complete streams", "share", lambda streams: sum(not stream.faults() for stream in streams) / len(streams)),
)
SCHEMA_MEASURES: tuple[tuple[str, str, Measure], ...] = (
    *MEASURES,
    ("answers by the schema", "share", lambda streams: sum(ticket.valid(one.text) for one in streams) / len(streams)),
)
LONGEST = 1000  # tokens of an answer by the schema


class Server:
    """One side of the comparison."""

    def __init__(self, name: str, url: str, model: str | None, key: str | None) -> None:
        self.name = name
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1/responses"
        self._model = model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def order(self, texts: list[str], tokens: int, **more: Any) -> Post:
        fields = {
            **({"model": self._model} if self._model else {}),
            "stream": True,
            "max_output_tokens": tokens,
            **more,
        }
        bodies = [json.dumps({**fields, "input": text}).encode() for text in texts]
        return Post(self._url, bodies, self._headers)


@click.command()
@click.option("--ours", required=True, help="Base URL of a server.")
@click.option("--peer", required=True, help="Base URL of the server to compare it with.")
@click.option("--model-ours", help="What to ask ours for.  [its default]")
@click.option("--model-peer", help="What to ask the peer for.  [its default]")
@click.option("--key-ours", envvar="OURS_API_KEY", help="An API key for ours.  [OURS_API_KEY]")
@click.option("--key-peer", envvar="PEER_API_KEY", help="An API key for the peer.  [PEER_API_KEY]")
@click.option("--streams", default="1,8,32", show_default=True, help="How many at once.")
@click.option("--schema-streams", default=8, show_default=True, help="How many at once under a JSON schema; 0: none.")
@click.option("--tokens", default=64, show_default=True, help="Tokens of each answer.")
@click.option("--prompt", default=32, show_default=True, help="Words of each prompt, no two alike.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Where the figures go.")
def main(
    ours: str,
    peer: str,
    model_ours: str | None,
    model_peer: str | None,
    key_ours: str | None,
    key_peer: str | None,
    streams: str,
    schema_streams: int,
    tokens: int,
    prompt: int,
    rounds: int,
    path: Path | None,
) -> None:
    """Compare two servers under the same load."""
    console = console_of_width()
    report = Report(console)
    pair = (Server("ours", ours, model_ours, key_ours), Server("peer", peer, model_peer, key_peer))
    with clients() as load:
        for count in map(int, streams.split(",")):
            compare(report, load, pair, count, tokens=tokens, prompt=prompt, rounds=rounds)
        if schema_streams:
            compare(report, load, pair, schema_streams, tokens=LONGEST, prompt=prompt, rounds=rounds, schema=True)
    report.show()
    console.print(f"written to {report.save(path)}")


def compare(
    report: Report,
    load: Clients,
    pair: tuple[Server, Server],
    count: int,
    *,
    tokens: int,
    prompt: int,
    rounds: int,
    schema: bool = False,
) -> None:
    """Measures both in each round, in changing order, with the same prompts. `schema`: answers are to be tickets."""
    more = {"text": ticket.text_format()} if schema else {}
    writer = Writer(time.time_ns())
    seen: dict[str, list[list[Stream]]] = {server.name: [] for server in pair}
    faults: dict[str, list[str]] = {server.name: [] for server in pair}
    with report.steps(f"{count} streams", 2 * rounds + 2) as step, report.watch({"clients": load.pid}) as watch:
        for number in range(-1, rounds):  # the first one only warms both up
            texts = [writer.text(prompt) for _ in range(count)]
            for server in pair if number % 2 else pair[::-1]:
                answers = load.ask(server.order(texts, tokens, **more))
                streams = [wire.read(one) for one in answers.connections]
                time.sleep(0.2)
                step()
                if number < 0:
                    continue
                seen[server.name].append(streams)
                faults[server.name] += [fault for stream in streams for fault in stream.faults()]
    case = f"{count} stream{'s' * (count > 1)}{', JSON schema' * schema}"
    for name, unit, measure in SCHEMA_MEASURES if schema else MEASURES:
        values = {side: [measure(streams) for streams in rounds_] for side, rounds_ in seen.items()}
        for side, figures in values.items():
            if known := list(filter(isfinite, figures)):
                report.add("compare", f"{case}, {side}: {name}", unit, known, watch, faults=faults[side][:10])
        ratios = [a / b for a, b in zip(values["ours"], values["peer"], strict=True) if b]
        if known := list(filter(isfinite, ratios)):
            report.add("compare", f"{case}, ours / peer: {name}", "ratio", known, watch)


if __name__ == "__main__":
    main()
