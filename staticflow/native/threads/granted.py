"""How many threads the system lets this process run at once."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def granted_threads() -> int:
    """The processors that this process may use: those of its affinity, and no more than the quotas
    of its control groups pay for (cpu.max of version 2; cpu.cfs_quota_us and cpu.cfs_period_us of
    version 1; rounded up), which are read once. At least 1.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas())]))


@functools.cache
def _quotas() -> tuple[float, ...]:
    """Processors' worth of time in a period, by each control group that limits it."""
    found = []
    for folder in _folders():
        try:
            quota = _of_version_2(folder) or _of_version_1(folder)
        except (OSError, ValueError):
            continue
        if quota is not None:
            found.append(quota)
    return tuple(found)


def _folders() -> list[Path]:
    """The folders of this process's groups and of those above them."""
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and "cpu" not in kinds.split(","):
            continue
        root = CGROUPS / kinds if kinds else CGROUPS
        own = root / path.lstrip("/")
        folders += [x for x in (own, *own.parents) if x == root or root in x.parents]
    return folders


def _of_version_2(folder: Path) -> float | None:
    file = folder / "cpu.max"
    if not file.exists():
        return None
    quota, period = file.read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _of_version_1(folder: Path) -> float | None:
    file = folder / "cpu.cfs_quota_us"
    if not file.exists():
        return None
    quota = int(file.read_text())
    return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
