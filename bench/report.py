"""What a benchmark found: rows of a table, and JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import machine

WIDTH = 150  # of a table that does not go to a terminal
OUT = Path(__file__).parent / "out"


class Result(Struct, kw_only=True):
    """One figure: the median of its samples."""

    bench: str
    case: str
    unit: str
    samples: list[float]
    value: float
    low: float
    high: float
    aim: str = ""
    met: bool | None = None
    load: float  # load average of the last minute when the case began
    others: float  # CPUs that processes other than the benchmark's used meanwhile
    stolen: float  # CPUs that the host gave to other machines
    details: dict[str, Any] = {}


@dataclass
class Watch:
    """How busy the machine was with other things while a case ran."""

    load: float
    others: float = 0.0
    stolen: float = 0.0
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)  # CPU seconds of each of our processes


@dataclass
class Report:
    """Collects results and shows how far things are."""

    console: Console
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self.console, transient=True)

    @contextmanager
    def steps(self, description: str, count: int) -> Any:
        """A bar of so many steps; the value is a function that ends one."""
        with self._progress:
            task = self._progress.add_task(description, total=count)
            try:
                yield lambda: self._progress.advance(task)
            finally:
                self._progress.remove_task(task)

    @contextmanager
    def watch(self, pids: dict[str, int]) -> Any:
        """Measures, while it is open, what the machine does besides the processes named and this one."""
        ours = {**pids, "bench": machine.own_pid()}
        watch = Watch(machine.load())
        started, before = time.monotonic(), machine.busy()
        cpu = {name: machine.process_seconds(pid) for name, pid in ours.items()}
        try:
            yield watch
        finally:
            watch.seconds = time.monotonic() - started
            watch.cpu = {name: machine.process_seconds(pid) - cpu[name] for name, pid in ours.items()}
            after = machine.busy()
            watch.others = max(0.0, after.all - before.all - sum(watch.cpu.values())) / watch.seconds
            watch.stolen = (after.stolen - before.stolen) / watch.seconds

    def add(
        self,
        bench: str,
        case: str,
        unit: str,
        samples: Sequence[float],
        watch: Watch,
        *,
        at_least: float | None = None,
        below: float | None = None,
        value: float | None = None,
        **details: Any,
    ) -> Result:
        """Notes a figure: the median of `samples`, unless a `value` is given, with the aim it has to reach."""
        value = median(samples) if value is None else value
        aim, met = "", None
        if at_least is not None:
            aim, met = f">= {at_least:g}", value >= at_least
        if below is not None:
            aim, met = f"< {below:g}", value < below
        result = Result(
            bench=bench,
            case=case,
            unit=unit,
            samples=list(samples),
            value=value,
            low=min(samples),
            high=max(samples),
            aim=aim,
            met=met,
            load=watch.load,
            others=watch.others,
            stolen=watch.stolen,
            details={**details, "seconds": watch.seconds, "cpu_seconds": watch.cpu},
        )
        self.results.append(result)
        self.console.print(f"  {bench:7} {case:44} {_number(value):>9} {unit:9} {aim} {_mark(met)}", highlight=False)
        return result

    def show(self) -> None:
        """The table of everything."""
        table = Table(title="llamarelay bench", title_justify="left")
        for heading in ("bench", "case"):
            table.add_column(heading)
        for heading in ("median", "min", "max", "", "aim", "", "n", "load", "others", "stolen"):
            table.add_column(heading, justify="left" if heading == "" else "right")
        for one in self.results:
            figures = map(_number, (one.value, one.low, one.high))
            quiet = (f"{one.load:.2f}", f"{one.others:.2f}", f"{one.stolen:.2f}")
            table.add_row(
                one.bench, one.case, *figures, one.unit, one.aim, _mark(one.met), str(len(one.samples)), *quiet
            )
        self.console.print(table)
        self.console.print(
            "load: load average of the last minute when the case began; others, stolen: CPUs that other processes and "
            "other machines of the host used meanwhile",
            style="dim",
        )

    def save(self, path: Path | None) -> Path:
        """Writes everything as JSON; returns where."""
        path = path or OUT / time.strftime("bench-%Y%m%d-%H%M%S.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": machine.describe(),
            "results": self.results,
        }
        path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))
        return path


def console_of_width() -> Console:
    """A console that is wide enough for the table where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values are (0 to 1)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _mark(met: bool | None) -> str:
    return "" if met is None else "[green]met[/]" if met else "[red]missed[/]"
