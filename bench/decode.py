"""Tokens per second through HTTP against the same steps in a bare loop."""

from __future__ import annotations

import time
from itertools import cycle, islice
from math import isnan
from statistics import median

from bench import wire
from bench.load import Clients
from bench.native import Loop, Native
from bench.plan import Plan
from bench.report import Report
from bench.stack import Stack

AIMS = {1: 0.95, 32: 0.92}


def run(plan: Plan, report: Report, stack: Stack, clients: Clients, native: Native) -> None:
    """Each round measures all ways, in changing order; what counts is the ratio within a round."""
    arms = ("http", "llama", "numpy")
    for streams, tokens in plan.decode.items():
        rates: dict[str, list[float]] = {arm: [] for arm in arms}
        pids = {**stack.pids, "clients": clients.pid, "native": native.pid}
        with (
            report.steps(f"decode, {streams} streams", plan.rounds * len(arms)) as step,
            report.watch(pids) as watch,
        ):
            clients.ask(plan.post(stack.url, plan.texts(streams), 8))  # warm
            for number in range(plan.rounds):
                for arm in islice(cycle(arms), number % 3, number % 3 + 3):
                    time.sleep(plan.rest)
                    if arm == "http":
                        rate = _through_http(plan, stack, clients, streams, tokens)
                    else:
                        rate = _in_a_loop(plan, native, streams, tokens, arm)
                    rates[arm].append(rate)
                    step()
        case = f"{streams} stream{'s' * (streams > 1)}"
        medians = {arm: median(rates[arm]) for arm in arms}
        against = {arm: [a / b for a, b in zip(rates["http"], rates[arm], strict=True)] for arm in arms[1:]}
        report.add("decode", f"{case}, through HTTP", "tokens/s", rates["http"], watch)
        for arm, name in (("llama", "llama_decode + llama.cpp's sampler"), ("numpy", "llama_decode + our sampler")):
            report.add(
                "decode", f"{case} / {name}", "ratio", against[arm], watch, at_least=AIMS.get(streams), rates=medians
            )


def _through_http(plan: Plan, stack: Stack, clients: Clients, streams: int, tokens: int) -> float:
    """Tokens per second while all streams run; on a busy machine they begin far apart, and have to be longer."""
    for factor in (1, 2, 4):
        answers = clients.ask(plan.post(stack.url, plan.texts(streams), tokens * factor))
        seen = [wire.read(one) for one in answers.connections]
        wire.check(seen)
        rate = wire.rate(seen)
        if not isnan(rate):
            return rate
    raise RuntimeError("the streams never ran all at once: this machine is too busy")


def _in_a_loop(plan: Plan, native: Native, streams: int, tokens: int, sampler: str) -> float:
    timed = native.ask(Loop(plan.texts(streams), tokens, sampler))
    return streams * len(timed.seconds) / sum(timed.seconds)
