"""How many cores there are, and how workers on one machine share them."""

from __future__ import annotations

import os
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Physical cores this process may run on, within its container's CPU quota. At least 1.

    Hyper-threads of one core share the units that matrix products use: a second thread there only makes others wait.
    """
    cores = _physical_cores()
    quota = _quota()
    return max(1, min(cores, quota) if quota else cores)


def shares(cores: int, workers: int) -> list[int]:
    """How many of `cores` each worker gets: as equal as whole cores allow, and at least one."""
    each, more = divmod(cores, workers)
    return [max(1, each + (number < more)) for number in range(workers)]


def _physical_cores() -> int:
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in allowed:
        try:
            siblings.add((TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip())
        except OSError:  # not Linux, or hidden
            return len(allowed)
    return len(siblings)


def _quota() -> int:
    """Whole CPUs of the cgroup's quota; 0 without one."""
    try:
        limit, period = CGROUP_QUOTA.read_text().split()
        return max(1, int(limit) // int(period)) if limit != "max" else 0
    except (OSError, ValueError):
        return 0
