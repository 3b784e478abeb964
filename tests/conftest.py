"""For all tests: a machine that is busy with others makes no example "too slow", and no gureum outlives the tests that started it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.living_clouds import (
    pytest_runtest_call,
    pytest_runtest_makereport,
    pytest_runtest_teardown,
    pytest_sessionfinish,
)

__all__ = ["pytest_runtest_call", "pytest_runtest_makereport", "pytest_runtest_teardown", "pytest_sessionfinish"]

# The parent is what hypothesis chose itself: where CI runs, examples are the same in every run.
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
