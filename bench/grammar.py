"""Requests whose answers are held to a JSON schema against as many free ones of the same length.

What is forced costs no sampling and shares llama_decode calls; that should pay for the masks of what is not. The
model's vocabulary has 150k tokens, and JSON's pieces are tokens of it as they are of real models'.
"""

from __future__ import annotations

import time

from bench import ticket, wire
from bench.load import Clients, Post
from bench.plan import Plan
from bench.report import Report
from bench.stack import Stack
from bench.wire import Stream

AIM = 1.0
LONGEST = 1000  # tokens; no ticket is as long


def run(plan: Plan, report: Report, stack: Stack, clients: Clients) -> None:
    """Each round measures both right after each other, in changing order.

    Free answers are as long as the constrained ones just before them: of this round, or of the round before.
    """
    rates: dict[str, list[float]] = {"schema": [], "free": []}
    tokens = dict.fromkeys(rates, 0)
    pids = {**stack.pids, "clients": clients.pid}
    with report.steps("grammar", 2 * plan.rounds) as step, report.watch(pids) as watch:
        counts = [stream.tokens for stream in _constrained(plan, stack, clients)]  # this one only warms up
        for number in range(plan.rounds):
            for arm in ("free", "schema") if number % 2 else ("schema", "free"):
                time.sleep(plan.rest)
                streams = _free(plan, stack, clients, counts) if arm == "free" else _constrained(plan, stack, clients)
                counts = [stream.tokens for stream in streams]
                rates[arm].append(wire.throughput(streams))
                tokens[arm] += sum(counts)
                step()
    ratios = [schema / free for schema, free in zip(rates["schema"], rates["free"], strict=True)]
    case = f"{plan.constrained} streams"
    report.add("grammar", f"{case}, a JSON schema", "tokens/s", rates["schema"], watch, tokens=tokens["schema"])
    report.add("grammar", f"{case}, free text", "tokens/s", rates["free"], watch, tokens=tokens["free"])
    report.add("grammar", f"{case}, JSON schema / free text", "ratio", ratios, watch, at_least=AIM)


def _constrained(plan: Plan, stack: Stack, clients: Clients) -> list[Stream]:
    post = plan.post(stack.url, plan.texts(plan.constrained), LONGEST, text=ticket.text_format())
    streams = _streams(clients, post)
    if wrong := [stream.text for stream in streams if not ticket.valid(stream.text)]:
        raise RuntimeError(f"an answer is not by the schema: {wrong[0][:200]}")
    return streams


def _free(plan: Plan, stack: Stack, clients: Clients, counts: list[int]) -> list[Stream]:
    bodies = [plan.body(text, count) for text, count in zip(plan.texts(len(counts)), counts, strict=True)]
    streams = _streams(clients, Post(stack.url, bodies))
    if [stream.tokens for stream in streams] != counts:
        raise RuntimeError("a free answer has not the length it was given")
    return streams


def _streams(clients: Clients, post: Post) -> list[Stream]:
    streams = [wire.read(one) for one in clients.ask(post).connections]
    wire.check(streams)
    return streams
