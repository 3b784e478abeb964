"""For all tests: a machine that is busy with others makes no example "too slow"."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The parent is what hypothesis chose itself: where CI runs, examples are the same in every run.
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
