"""Requests that share long instructions and come at once: the prefix should be computed once."""

from __future__ import annotations

import time
from statistics import median

from bench import wire
from bench.load import Clients
from bench.plan import Plan
from bench.report import Report
from bench.stack import Stack

AIM = 2.0
TOKENS = 8


def run(plan: Plan, report: Report, stack: Stack, clients: Clients) -> None:
    """Instructions are new in each measurement, so that nothing of them is in the cache when it begins."""
    single: list[float] = []
    shared: list[float] = []
    pids = {**stack.pids, "clients": clients.pid}
    with report.steps("shared prefix", 2 * plan.rounds) as step, report.watch(pids) as watch:
        for number in range(plan.rounds):
            for count in (1, plan.sharers) if number % 2 else (plan.sharers, 1):
                time.sleep(plan.rest)
                times = _first_texts(plan, stack, clients, count)
                (single if count == 1 else shared).append(median(times) * 1000)
                step()
    ratios = [many / one for many, one in zip(shared, single, strict=True)]
    report.add("prefix", f"first token of 1 request, {plan.prefix} words", "ms", single, watch)
    report.add("prefix", f"first token of {plan.sharers} requests, median", "ms", shared, watch)
    report.add("prefix", f"{plan.sharers} requests / 1 request", "ratio", ratios, watch, below=AIM)


def _first_texts(plan: Plan, stack: Stack, clients: Clients, count: int) -> list[float]:
    instructions = plan.writer.text(plan.prefix)
    answers = clients.ask(plan.post(stack.url, plan.texts(count), TOKENS, instructions=instructions))
    streams = [wire.read(one) for one in answers.connections]
    wire.check(streams)
    return [stream.first_text for stream in streams]
