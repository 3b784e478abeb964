"""When event windows may be, as AWS's reference of CreateInstanceEventWindow has it."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "cron", ["* 0-4,20-23 * * 1,5", "* 21-23 * * 2,3", "* 0-4 * * *", "* 0-4 * * SUN,mon", "* 0-1 * * 1-5"]
)
def test_windows_of_enough_hours_on_days_of_the_week(cloud, cron):
    assert cloud("CreateInstanceEventWindow", CronExpression=cron)["InstanceEventWindow"]["CronExpression"] == cron


@pytest.mark.parametrize(
    "cron",
    [
        "* 99-100 * * 1",
        "* 1-2-3 * * 1",
        "* 4-0 * * 1",
        "* 20 * * *",
        "* 20-20 * * *",
        "* 21-22 * * 2",
        "* 0-4 * * 7",
        "* 0-4 * * 5-1",
        "* 0-4 * * 1-",
        "* 0-4 * * MOND",
        "* 0-4 * * 12",
        "5 0-4 * * 1",
        "* 0-4 1 * 1",
        "* 0-4 * * ¹",
        "* " + "0-4," * 1000 + "0-4 * * 1",
    ],
)
def test_what_is_no_such_window_is_refused(cloud, cron):
    assert cloud.code("CreateInstanceEventWindow", CronExpression=cron) == "InvalidParameterValue"
