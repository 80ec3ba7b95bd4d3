"""How quiet the machine was: a figure is worth no more than that."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from shared.cpu import usable_cores

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Busy:
    """CPU seconds."""

    all: float  # of the whole machine
    stolen: float  # by other guests of the same host


def busy() -> Busy:
    """Since the machine was started; zeros where the system does not tell."""
    try:
        fields = [int(field) / TICKS for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return Busy(0.0, 0.0)
    user, nice, system, _, _, irq, softirq, stolen = fields
    return Busy(user + nice + system + irq + softirq, stolen)


def process_seconds(pid: int) -> float:
    """CPU seconds of a process, 0 when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def own_pid() -> int:
    return os.getpid()


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def describe() -> dict[str, str | int]:
    """What the figures were taken on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "llama-cpp-python": version("llama-cpp-python"),
        "redis-py": version("redis"),
        "aiohttp": version("aiohttp"),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
