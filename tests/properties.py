"""How property tests run: the same cases every time, as many as are worth their seconds."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

STEADY = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
)
