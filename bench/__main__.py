"""`python -m bench [decode|ttft|prefix|grammar|relay|all]`: what is asked for, in turn, a table and JSON."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from bench import decode, grammar, machine, prefix, relay, ttft
from bench.load import clients
from bench.native import native
from bench.plan import Plan, standard
from bench.report import Report, console_of_width
from bench.stack import Stack

NAMES = ("decode", "ttft", "prefix", "grammar", "relay")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*NAMES, "all"]))
@click.option("--quick", is_flag=True, help="Fewer and shorter measurements, for a first look.")
@click.option("--large", is_flag=True, help="The model of 0.5B parameters instead of 0.1B.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Where the figures go.")
def main(names: tuple[str, ...], quick: bool, large: bool, path: Path | None) -> None:
    """Measure llamarelay on this machine: all benchmarks, or those named.

    Each starts a real Redis, web process and worker with a model of random weights (made once, in bench/models).
    """
    console = console_of_width()
    with console.status("making the model"):
        plan = standard(quick=quick, large=large)
    console.print(f"load average {machine.load():.2f}, {machine.describe()['cores']} cores, {plan.model}")
    report = Report(console)
    run(plan, report, [name for name in NAMES if not names or name in names or "all" in names])
    report.show()
    console.print(f"written to {report.save(path)}")


def run(plan: Plan, report: Report, names: list[str]) -> None:
    """Runs the named benchmarks; what they share is started once."""
    with ExitStack() as opened:
        load = opened.enter_context(clients())
        if "relay" in names:
            relay.run(plan, report, load)
        if names == ["relay"]:
            return
        stack = opened.enter_context(Stack(models_dir=plan.models_dir, models=(plan.model,), default_model=plan.model))
        limits = opened.enter_context(native(plan.model_file))
        if "ttft" in names:
            ttft.run(plan, report, stack, load, limits)
        if "prefix" in names:
            prefix.run(plan, report, stack, load)
        if "grammar" in names:
            grammar.run(plan, report, stack, load)
        if "decode" in names:
            decode.run(plan, report, stack, load, limits)


if __name__ == "__main__":
    main()
