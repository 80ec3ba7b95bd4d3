"""The table of a run."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.chaos.faults import Fault

if TYPE_CHECKING:
    from tests.chaos.run import Plan, Result


def show(plan: Plan, result: Result) -> None:
    """Prints what was done, what it did to streams, and what broke."""
    console = Console(width=110)
    console.print(_table(result.faults))
    tally = result.tally
    lost = sum(story.lost for story in tally.told)
    repeated = sum(story.repeated for story in tally.told)
    held = {id(story) for fault in result.faults for story in fault.hit}
    console.print(
        f"{result.seconds:.0f} s, seed {plan.seed}: {len(result.faults)} faults, {tally.responses} responses, "
        f"{len(held)} streams hit and held, {tally.events} events delivered, lost {lost}, repeated {repeated}."
    )
    console.print(
        f"{tally.resumed} resumed at another web, {tally.replayed} logs replayed byte for byte, "
        f"{tally.orphaned} unstored ended with their web, {tally.given_up} given up after three lost workers."
    )
    if result.tools:
        lost = result.tools.outcomes["failed"]
        console.print(
            f"{result.tools.made} remote calls, {result.tools.again} of them made again, {lost} reported as lost with "
            "their worker."
        )
    console.print("visits: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.visits.items())))
    if result.violation:
        console.print(f"\nBROKEN, seed {plan.seed}:", style="bold red")
        print(result.violation)


def _table(faults: list[Fault]) -> Table:
    table = Table("fault", title="Chaos", title_justify="left")
    for column in ("injected", "streams hit", "median pause", "worst pause"):
        table.add_column(column, justify="right")
    for kind in sorted({fault.kind for fault in faults}):
        of_kind = [fault for fault in faults if fault.kind == kind]
        pauses = [pause for fault in of_kind for pause in fault.pauses()]
        table.add_row(
            kind,
            str(len(of_kind)),
            str(sum(len(fault.hit) for fault in of_kind)),
            f"{median(pauses):.2f} s" if pauses else "-",
            f"{max(pauses):.2f} s" if pauses else "-",
        )
    return table
