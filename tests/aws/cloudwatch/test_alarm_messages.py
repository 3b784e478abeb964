"""What alarms publish to topics. Names of regions and the children of composite alarms: as in messages that AWS has sent to people who keep them in
public; what is there of a metric alarm: as LocalStack has recorded it from AWS (test_put_metric_alarm, test_alarm_number_of_messages_sent)."""

from __future__ import annotations

from typing import Any

import pytest

from gureum.aws.cloudwatch.alarm_events import name_of_region, topic_message
from gureum.aws.cloudwatch.alarm_kinds import StateText
from tests.aws.cloudwatch.conftest import NOON, Watch
from tests.aws.cloudwatch.test_composite_alarms import PREFIX, alarms, composite, set_state


def message(watch: Watch, name: str) -> dict[str, Any]:
    return topic_message(watch.stored(name), StateText("OK", "before", "", NOON))


def test_a_metric_alarms_trigger_says_what_was_asked_for(watch: Watch) -> None:
    watch.alarm(Statistic="SampleCount", TreatMissingData="missing")
    told = message(watch, "high")
    assert told["Region"] == "US East (N. Virginia)"
    assert told["Trigger"] == {
        "ComparisonOperator": "GreaterThanThreshold",
        "Dimensions": [],
        "EvaluateLowSampleCountPercentile": "",
        "EvaluationPeriods": 1,
        "MetricName": "load",
        "Namespace": "app",
        "Period": 60,
        "Statistic": "SAMPLE_COUNT",
        "StatisticType": "Statistic",
        "Threshold": 10.0,
        "TreatMissingData": "missing",
        "Unit": None,
    }
    watch.alarm(EvaluationPeriods=3, DatapointsToAlarm=2)
    assert message(watch, "high")["Trigger"]["DatapointsToAlarm"] == 2


def test_an_alarm_on_an_expression_tells_what_it_is_made_of(watch: Watch) -> None:
    """As in messages that AWS has sent: not in the form that its events have."""
    dimensions = [{"Name": "Type", "Value": "API"}]
    metric = {"Namespace": "app", "MetricName": "load", "Dimensions": dimensions}
    queries = [
        {"Id": "e1", "Expression": "FILL(m1, 0)", "Label": "filled", "ReturnData": True},
        {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Average"}, "ReturnData": False},
    ]
    watch.alarm(Metrics=queries)
    told = message(watch, "high")["Trigger"]
    assert told["Metrics"] == [
        queries[0],
        {
            "Id": "m1",
            "MetricStat": {
                "Metric": {"Dimensions": [{"value": "API", "name": "Type"}], "MetricName": "load", "Namespace": "app"},
                "Period": 60,
                "Stat": "Average",
            },
            "ReturnData": False,
        },
    ]
    assert "MetricName" not in told


@pytest.mark.parametrize(
    ("region", "name"),
    [
        ("us-east-1", "US East (N. Virginia)"),
        ("eu-west-1", "EU (Ireland)"),
        ("ap-northeast-2", "Asia Pacific (Seoul)"),
        ("xx-none-7", "xx-none-7"),
    ],
)
def test_regions_have_their_long_names(region: str, name: str) -> None:
    assert name_of_region(region) == name


def test_a_composite_alarm_tells_whose_change_decided(watch: Watch) -> None:
    alarms(watch, "a")
    composite(watch, "top", "ALARM(a)")
    assert message(watch, "top")["TriggeringChildren"] == []
    set_state(watch, "a", "ALARM")
    when = "2025-06-15T15:07:02.000+0000"
    assert message(watch, "top")["TriggeringChildren"] == [
        {"Arn": f"{PREFIX}a", "State": {"Value": "ALARM", "Timestamp": when}}
    ]


@pytest.mark.parametrize("data", ["[]", "7", '{"triggeringAlarms": [1]}', '{"triggeringAlarms": null}', "{}"])
def test_data_that_somebody_has_set_are_no_children(watch: Watch, data: str) -> None:
    alarms(watch, "a")
    composite(watch, "top", "ALARM(a)")
    watch("SetAlarmState", AlarmName="top", StateValue="ALARM", StateReason="x", StateReasonData=data)
    assert message(watch, "top")["TriggeringChildren"] == []
