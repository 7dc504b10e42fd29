"""The machine and the versions a result belongs to."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.contender import Contender
from benchmarks.machine_peak import Peak, cores


def _cpu() -> dict[str, Any]:
    """The processor's name and vector extensions, where the system tells."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return {"name": platform.processor(), "vectors": []}
    lines = (line.partition(":") for line in info.read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    vectors = sorted(flags & {"avx", "avx2", "fma", "avx512f", "asimd", "sve"})
    return {"name": fields.get("model name", platform.machine()), "vectors": vectors}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def load() -> float | None:
    """Runnable processes, averaged over the last minute: beyond our own, they are noise."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def describe(contenders: list[Contender], peak: Peak) -> dict[str, Any]:
    packages = sorted({p for c in contenders for p in c.packages} | {"numpy", "scipy"})
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in packages},
        "load": load(),
        "peak_gflops": {d: [round(f / 1e9) for f in pair] for d, pair in peak.flops.items()},
        "bandwidth_gb": {size: round(b / 1e9, 1) for size, b in peak.bandwidth.items()},
    }
