"""Time to the first token through HTTP, and how much of it is not the engine's."""

from __future__ import annotations

import time

from bench import wire
from bench.load import Clients
from bench.native import First, Native
from bench.plan import Plan
from bench.report import Report, percentile
from bench.stack import Stack

AIM_MS = 10.0


def run(plan: Plan, report: Report, stack: Stack, clients: Clients, native: Native) -> None:
    """One request at a time; the engine alone gets a prompt of the same length right before or after it."""
    through, alone, created, prompts = [], [], [], set()
    pids = {**stack.pids, "clients": clients.pid, "native": native.pid}
    with report.steps("time to first token", plan.first_tokens) as step, report.watch(pids) as watch:
        for number in range(-3, plan.first_tokens):  # the first three only warm everything up
            engine_first = number % 2 == 0
            if engine_first:
                engine = native.ask(First(plan.writer.text(plan.prompt)))
                time.sleep(plan.rest)
            stream = wire.read(clients.ask(plan.post(stack.url, plan.texts(1), 2)).connections[0])
            wire.check([stream])
            time.sleep(plan.rest)
            if not engine_first:
                engine = native.ask(First(plan.writer.text(plan.prompt)))
                time.sleep(plan.rest)
            if number < 0:
                continue
            through.append(stream.first_text * 1000)
            alone.append(engine.seconds[0] * 1000)
            created.append(stream.first_event * 1000)
            prompts.add(engine.prompt_tokens)
            step()
    added = [a - b for a, b in zip(through, alone, strict=True)]
    report.add("ttft", "through HTTP", "ms", through, watch, prompt_tokens=sorted(prompts))
    report.add("ttft", "the engine alone", "ms", alone, watch)
    report.add("ttft", "added to the engine's, p50", "ms", added, watch, below=AIM_MS, p90=percentile(added, 0.9))
    report.add("ttft", "response.created", "ms", created, watch)
