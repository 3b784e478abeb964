"""A simulated cloud for each file of tests, whose alarms are soon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloud.running import Cloud
from tests.wire.conftest import _running


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    settings = {"simulate": "true", "ephemeral": "true", "alarm_evaluation_s": "0.5", "alarm_minute_s": "1"}
    yield from _running(Cloud(tmp_path_factory.mktemp("gureum"), **settings), "up", "--simulate")
