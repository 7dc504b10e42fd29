"""What all tests share: hypothesis without noise and without a memory of earlier runs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "staticflow",
    database=None,
    deadline=None,
    derandomize=True,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("staticflow")
