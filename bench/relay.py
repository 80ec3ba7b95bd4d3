"""How many events a second one web process brings to its clients, and how late."""

from __future__ import annotations

import time
from dataclasses import replace

from bench import wire
from bench.load import Clients
from bench.plan import Plan
from bench.pusher import Push, Pushed, Pusher, pusher
from bench.report import Report, Watch, percentile
from bench.stack import Stack
from bench.wire import Stream

MODEL = "bench/relay@scripted"


def run(plan: Plan, report: Report, clients: Clients) -> None:
    """Steady rates for the latency, then as fast as it goes for the throughput; its own Redis and web."""
    plan = replace(plan, model=MODEL)
    with (
        Stack(worker=False) as stack,
        pusher(stack.redis.url, MODEL) as source,
        report.steps("relay", len(plan.relay_rates) + 2) as step,
    ):
        _relay(plan, stack, clients, source, steps=3, rate=0)  # warm
        step()
        for rate in plan.relay_rates:
            _steady(plan, report, stack, clients, source, rate)
            step()
        _burst(plan, report, stack, clients, source)
        step()


def _steady(plan: Plan, report: Report, stack: Stack, clients: Clients, source: Pusher, rate: int) -> None:
    steps = max(2, round(plan.relay_seconds * rate / plan.relay_clients))
    with report.watch(_pids(stack, clients, source)) as watch:
        _, streams = _relay(plan, stack, clients, source, steps=steps, rate=rate)
    late = latencies(streams)
    case = f"{rate:,} events/s to {plan.relay_clients} clients"
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        value = percentile(late, share)
        report.add("relay", f"{case}: latency {name}", "ms", [value], watch, events=len(late), **_shares(watch))


def _burst(plan: Plan, report: Report, stack: Stack, clients: Clients, source: Pusher) -> None:
    with report.watch(_pids(stack, clients, source)) as watch:
        pushed, streams = _relay(plan, stack, clients, source, steps=plan.relay_burst, rate=0)
    times = sorted(time for stream in streams for time, event in stream.events if time > pushed.started)
    seconds = times[-1] - pushed.started
    report.add(
        "relay",
        f"as fast as it goes, to {plan.relay_clients} clients",
        "events/s",
        [len(times) / seconds],
        watch,
        written_per_second=plan.relay_burst * plan.relay_clients / (pushed.ended - pushed.started),
        **_shares(watch),
    )


def _relay(
    plan: Plan, stack: Stack, clients: Clients, source: Pusher, *, steps: int, rate: int
) -> tuple[Pushed, list[Stream]]:
    """Raises RuntimeError unless every client got every event exactly once."""
    time.sleep(plan.rest)
    source.tell(Push(plan.relay_clients, steps, rate))
    clients.tell(plan.post(stack.url, ["go"] * plan.relay_clients, steps))
    pushed = source.hear()
    streams = [wire.read(one) for one in clients.hear().connections]
    wire.check(streams)
    received = sum(len(stream.events) for stream in streams)
    if received != pushed.events:
        raise RuntimeError(f"{pushed.events} events were written, {received} came")
    return pushed, streams


def latencies(streams: list[Stream]) -> list[float]:
    """Milliseconds from the making of each delta to its arrival; the first ones, when streams begin, left out."""
    return [
        time * 1000 - int(stamp) / 1e6
        for stream in streams
        for time, event in stream.events
        if event.characters
        for stamp in event.delta.split()
    ][len(streams) :]


def _pids(stack: Stack, clients: Clients, source: Pusher) -> dict[str, int]:
    return {**stack.pids, "clients": clients.pid, "pusher": source.pid}


def _shares(watch: Watch) -> dict[str, float]:
    """How many CPUs each process used."""
    return {f"{name}_cpus": round(seconds / watch.seconds, 2) for name, seconds in watch.cpu.items()}
