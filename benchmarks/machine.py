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

AMD = (
    (0x17, range(0x00, 0x30), "Zen"),
    (0x17, range(0x30, 0x100), "Zen 2"),
    (0x19, range(0x00, 0x10), "Zen 3"),
    (0x19, range(0x10, 0x20), "Zen 4"),
    (0x19, range(0x20, 0x60), "Zen 3"),
    (0x19, range(0x60, 0xB0), "Zen 4"),
    (0x1A, range(0x00, 0x80), "Zen 5"),
)  # family, models, core


def _cpu() -> dict[str, Any]:
    """The processor's name and vector extensions, where the system tells."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return {"name": platform.processor(), "vectors": []}
    lines = (line.partition(":") for line in info.read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    vectors = sorted(flags & {"avx", "avx2", "fma", "avx512f", "asimd", "sve"})
    name = fields.get("model name", platform.machine())
    return {"name": name, "kind": _kind(fields), "vectors": vectors}


def _kind(fields: dict[str, str]) -> str:
    """The processor's generation, which names such as "AMD EPYC" do not tell: its family and model
    in hexadecimal, and the name of AMD's core where AMD's revision guides give one for them.
    """
    if not {"cpu family", "model"} <= fields.keys():
        return ""
    family, model = int(fields["cpu family"]), int(fields["model"])
    core = ""
    if fields.get("vendor_id") == "AuthenticAMD":
        core = next((f", {core}" for f, models, core in AMD if f == family and model in models), "")
    return f" (family {family:x}h, model {model:x}h{core})"


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
