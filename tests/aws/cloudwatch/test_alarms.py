"""Alarms from PutMetricAlarm to their actions, on a clock that stands still; ticks are the tests' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gureum.aws.cloudwatch.alarm_evaluator import next_tick, window_of
from gureum.aws.cloudwatch.alarm_kinds import AlarmHistory, MetricAlarm
from gureum.aws.cloudwatch.queries import read_queries
from gureum.aws.cloudwatch.running_periods import course_of
from gureum.aws.errors import AwsError
from gureum.base.settings import Settings
from gureum.engine.registry import Mark
from tests.aws.cloudwatch.conftest import ACCOUNT, NOON, REGION, Watch, stamp_of

ARN = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:high"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:topic"
POLICY = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:1:autoScalingGroupName/g:policyName/p"
STOP = f"arn:aws:automate:{REGION}:ec2:stop"


class Recorder:
    """Stands in for the service that acts on ARNs that begin with `prefix`."""

    def __init__(self, watch: Watch, prefix: str, refusal: str = "") -> None:
        self.told: list[Any] = []
        self._refusal = refusal
        watch.world.registry.marks("alarm-action")[prefix] = Mark("alarm-action", prefix, self.act, {})

    async def act(self, world: Any, context: Any) -> None:
        self.told.append(context)
        if self._refusal:
            raise AwsError("ValidationError", self._refusal)


def query(id_: str, name: str = "load", **more: Any) -> dict[str, Any]:
    metric = {"Namespace": "app", "MetricName": name, "Dimensions": []}
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False, **more}


def test_a_new_alarm_has_insufficient_data(watch: Watch) -> None:
    watch.alarm(AlarmDescription="too high")
    shown = watch.shown()
    assert shown["StateValue"] == "INSUFFICIENT_DATA"
    assert shown["StateReason"] == "Insufficient Data: 1 datapoint was unknown."
    assert shown["AlarmArn"] == ARN
    assert (shown["Statistic"], shown["Period"], shown["ActionsEnabled"]) == ("Average", 60, True)
    assert "DatapointsToAlarm" not in shown
    assert "TreatMissingData" not in shown


def test_an_alarm_is_looked_at_as_soon_as_it_is_there(watch: Watch) -> None:
    watch.put(20.0, at=NOON - 60)
    watch.alarm()
    watch.settle()
    assert watch.state() == "ALARM"


def test_ok_then_alarm_with_awss_reasons(watch: Watch) -> None:
    """The form of "Alarm events and EventBridge" in the User Guide."""
    watch.put(4.0, at=NOON - 60)
    watch.alarm()
    watch.evaluate()
    assert watch.shown()["StateReason"] == (
        "Threshold Crossed: 1 datapoint [4.0 (15/06/25 15:06:00)] was not greater than the threshold (10.0)."
    )
    watch.put(20.0, 30.0)
    watch.clock.time += 62
    watch.evaluate()
    shown = watch.shown()
    assert shown["StateValue"] == "ALARM"
    assert shown["StateReason"] == (
        "Threshold Crossed: 1 datapoint [25.0 (15/06/25 15:07:00)] was greater than the threshold (10.0)."
    )
    assert json.loads(shown["StateReasonData"]) == {
        "version": "1.0",
        "queryDate": "2025-06-15T15:08:02.000+0000",
        "startDate": "2025-06-15T15:07:00.000+0000",
        "statistic": "Average",
        "period": 60,
        "recentDatapoints": [25.0],
        "threshold": 10.0,
        "evaluatedDatapoints": [{"timestamp": "2025-06-15T15:07:00.000+0000", "sampleCount": 2.0, "value": 25.0}],
    }
    assert shown["StateTransitionedTimestamp"] == NOON + 62


def test_m_out_of_n_says_so(watch: Watch) -> None:
    for minute, value in ((3, 20.0), (2, 5.0), (1, 30.0)):
        watch.put(value, at=NOON - 60 * minute)
    watch.alarm(EvaluationPeriods=3, DatapointsToAlarm=2)
    watch.evaluate()
    assert watch.shown()["StateReason"] == (
        "Threshold Crossed: 2 out of the last 3 datapoints [30.0 (15/06/25 15:06:00), 20.0 (15/06/25 15:04:00)] were greater than the"
        " threshold (10.0) (minimum 2 datapoints for OK -> ALARM transition)."
    )


@pytest.mark.parametrize(
    ("treat", "state", "reason"),
    [
        (
            "breaching",
            "ALARM",
            "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as [Breaching].",
        ),
        (
            "notBreaching",
            "OK",
            "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as [NonBreaching].",
        ),
        ("missing", "INSUFFICIENT_DATA", "Insufficient Data: 2 datapoints were unknown."),
        ("ignore", "INSUFFICIENT_DATA", "Unchecked: Initial alarm creation"),
    ],
)
def test_without_any_data(watch: Watch, treat: str, state: str, reason: str) -> None:
    watch.alarm(EvaluationPeriods=2, TreatMissingData=treat)
    watch.evaluate()
    assert (watch.state(), watch.shown()["StateReason"]) == (state, reason)


@pytest.mark.parametrize(
    ("treat", "value", "state", "missing"),
    [("notBreaching", 20.0, "OK", "[NonBreaching]"), ("breaching", 5.0, "ALARM", "[Breaching]")],
)
def test_what_is_missing_decides_and_what_is_there_is_not_said_to_be_otherwise(
    watch: Watch, treat: str, value: float, state: str, missing: str
) -> None:
    watch.put(value, at=NOON - 60)
    watch.alarm(EvaluationPeriods=3, DatapointsToAlarm=2, TreatMissingData=treat)
    watch.evaluate()
    least, way = (2, "ALARM -> OK") if state == "OK" else (2, "OK -> ALARM")
    reason = f"Threshold Crossed: 2 missing datapoints were treated as {missing} (minimum {least} datapoints for {way} transition)."
    assert (watch.state(), watch.shown()["StateReason"]) == (state, reason)


def test_data_that_stop_make_it_insufficient_when_they_leave_the_range(watch: Watch) -> None:
    watch.put(4.0, at=NOON - 60)
    watch.alarm()
    watch.evaluate()
    states = []
    for _ in range(4):
        watch.clock.time += 60
        watch.evaluate()
        states.append(watch.state())
    assert states == ["OK", "OK", "INSUFFICIENT_DATA", "INSUFFICIENT_DATA"]


def test_ignore_keeps_the_state(watch: Watch) -> None:
    watch.put(20.0, at=NOON - 60)
    watch.alarm(TreatMissingData="ignore")
    watch.evaluate()
    watch.clock.time += 3600
    watch.evaluate()
    assert watch.state() == "ALARM"


def test_the_minute_that_has_not_ended_does_not_count(watch: Watch) -> None:
    watch.put(4.0, at=NOON - 60)
    watch.put(20.0)
    watch.alarm()
    watch.clock.time += 59
    watch.evaluate()
    assert watch.state() == "OK"


@pytest.mark.parametrize(
    ("operator", "value", "state"),
    [
        ("GreaterThanThreshold", 10.0, "OK"),
        ("GreaterThanOrEqualToThreshold", 10.0, "ALARM"),
        ("LessThanThreshold", 10.0, "OK"),
        ("LessThanOrEqualToThreshold", 10.0, "ALARM"),
        ("LessThanThreshold", 9.0, "ALARM"),
    ],
)
def test_comparisons(watch: Watch, operator: str, value: float, state: str) -> None:
    watch.put(value, at=NOON - 60)
    watch.alarm(ComparisonOperator=operator)
    watch.evaluate()
    assert watch.state() == state


def test_dimensions_count(watch: Watch) -> None:
    """(One of the peers ignores them.)"""
    host = [{"Name": "host", "Value": "a"}]
    watch.put(20.0, at=NOON - 60, Dimensions=host)
    watch.alarm("plain")
    watch.alarm("a", Dimensions=host)
    watch.evaluate()
    assert (watch.state("plain"), watch.state("a")) == ("INSUFFICIENT_DATA", "ALARM")


def test_percentiles_and_their_low_samples(watch: Watch) -> None:
    for value in (1.0, 1.0, 100.0):
        watch.put(value, at=NOON - 60)
    watch.alarm("always", ExtendedStatistic="p99")
    watch.alarm("sure", ExtendedStatistic="p99", EvaluateLowSampleCountPercentile="ignore")
    watch.evaluate()
    assert (watch.state("always"), watch.state("sure")) == ("ALARM", "INSUFFICIENT_DATA")
    many = [{"MetricName": "load", "Values": [1.0], "Counts": [1000.0], "Timestamp": stamp_of(NOON - 60)}]
    watch("PutMetricData", Namespace="app", MetricData=many)
    watch.evaluate()
    assert watch.state("sure") == "OK"


def test_an_alarm_on_an_expression(watch: Watch) -> None:
    expression = {"Id": "rate", "Expression": "100 * errors / requests", "Label": "Error rate", "ReturnData": True}
    queries = [expression, query("errors", "errors"), query("requests", "requests")]
    watch.alarm(Metrics=queries)
    watch.put(3.0, name="errors", at=NOON - 60)
    watch.put(10.0, name="requests", at=NOON - 60)
    watch.evaluate()
    shown = watch.shown()
    assert shown["StateValue"] == "ALARM"
    assert "[30.0 (15/06/25 15:06:00)]" in shown["StateReason"]
    assert "statistic" not in json.loads(shown["StateReasonData"])
    assert shown["Metrics"] == queries
    assert "MetricName" not in shown


def test_set_alarm_state_lasts_until_it_is_evaluated(watch: Watch) -> None:
    watch.put(4.0, at=NOON - 60)
    watch.alarm()
    watch.evaluate()
    watch("SetAlarmState", AlarmName="high", StateValue="ALARM", StateReason="testing", StateReasonData='{"a": 1}')
    assert watch.state() == "ALARM"
    watch.evaluate()
    watch.evaluate()
    assert watch.state() == "OK"
    moves = [item["HistorySummary"] for item in watch.history(HistoryItemType="StateUpdate")]
    assert moves == [
        "Alarm updated from ALARM to OK",
        "Alarm updated from OK to ALARM",
        "Alarm updated from INSUFFICIENT_DATA to OK",
    ]


def test_set_alarm_state_refuses(watch: Watch) -> None:
    assert watch.refused("SetAlarmState", AlarmName="none", StateValue="OK", StateReason="x")[0] == "ResourceNotFound"
    watch.alarm()
    bad = {"AlarmName": "high", "StateValue": "OK", "StateReason": "x", "StateReasonData": "{"}
    assert watch.refused("SetAlarmState", **bad)[0] == "InvalidFormat"


def test_the_history_tells_all_that_happened(watch: Watch) -> None:
    watch.alarm(AlarmActions=[TOPIC])
    watch.put(20.0, at=NOON - 60)
    watch.evaluate()
    watch.clock.time += 1
    watch.alarm(Threshold=15.0)
    watch("DeleteAlarms", AlarmNames=["high"])
    told = [(item["HistoryItemType"], item["HistorySummary"]) for item in watch.history()]
    assert told == [
        ("ConfigurationUpdate", 'Alarm "high" deleted'),
        ("ConfigurationUpdate", 'Alarm "high" updated'),
        ("Action", f"Successfully executed action {TOPIC}"),
        ("StateUpdate", "Alarm updated from INSUFFICIENT_DATA to ALARM"),
        ("ConfigurationUpdate", 'Alarm "high" created'),
    ]
    data = json.loads(watch.history(HistoryItemType="StateUpdate")[0]["HistoryData"])
    assert data["oldState"]["stateValue"] == "INSUFFICIENT_DATA"
    assert data["newState"]["stateReasonData"]["recentDatapoints"] == [20.0]
    action = json.loads(watch.history(HistoryItemType="Action")[0]["HistoryData"])
    assert (action["actionState"], action["notificationResource"], action["error"]) == ("Succeeded", TOPIC, None)


def test_history_in_pages_and_by_time(watch: Watch) -> None:
    for _ in range(5):
        watch.alarm()
        watch.clock.time += 1
    first = watch("DescribeAlarmHistory", AlarmName="high", MaxRecords=2)
    assert [item["Timestamp"] - NOON for item in first["AlarmHistoryItems"]] == [4, 3]
    second = watch("DescribeAlarmHistory", AlarmName="high", MaxRecords=2, NextToken=first["NextToken"])
    assert [item["Timestamp"] - NOON for item in second["AlarmHistoryItems"]] == [2, 1]
    oldest = watch("DescribeAlarmHistory", ScanBy="TimestampAscending", MaxRecords=1, StartDate=stamp_of(NOON + 2))
    assert [item["Timestamp"] - NOON for item in oldest["AlarmHistoryItems"]] == [2]
    assert watch.refused("DescribeAlarmHistory", NextToken="x")[0] == "InvalidNextToken"


def test_history_goes_after_two_weeks(watch: Watch) -> None:
    watch.alarm()
    watch.clock.time += 14 * 86400 + 1
    assert watch.history() == []
    watch.alarm()
    assert sum(1 for _ in watch.world.client.everywhere(AlarmHistory)) == 1


def test_actions_are_told_once_per_change_with_the_event(watch: Watch) -> None:
    topic = Recorder(watch, "arn:aws:sns")
    events: list[dict[str, Any]] = []
    watch.world.event_stream.subscribe(events.append)
    watch.put(20.0, at=NOON - 60)
    watch.alarm(AlarmActions=[TOPIC])
    for _ in range(3):
        watch.evaluate()
    assert [(one.arn, one.before.value, one.state, one.values) for one in topic.told] == [
        (TOPIC, "INSUFFICIENT_DATA", "ALARM", (20.0,))
    ]
    assert [event["detail-type"] for event in events] == ["CloudWatch Alarm State Change"]
    detail = events[0]["detail"]
    assert events[0]["resources"] == [ARN]
    assert (detail["previousState"]["value"], detail["state"]["value"]) == ("INSUFFICIENT_DATA", "ALARM")
    assert detail["configuration"]["metrics"][0]["metricStat"]["metric"]["name"] == "load"


def test_disabled_actions_are_not_told_but_the_state_changes(watch: Watch) -> None:
    topic = Recorder(watch, "arn:aws:sns")
    watch.put(20.0, at=NOON - 60)
    watch.alarm(AlarmActions=[TOPIC], ActionsEnabled=False)
    watch.evaluate()
    assert (watch.state(), topic.told) == ("ALARM", [])
    watch("EnableAlarmActions", AlarmNames=["high", "none"])
    assert watch.shown()["ActionsEnabled"] is True
    watch("SetAlarmState", AlarmName="high", StateValue="OK", StateReason="x")
    watch.evaluate()
    watch.evaluate()
    assert len(topic.told) == 1
    watch("DisableAlarmActions", AlarmNames=["high"])
    assert watch.shown()["ActionsEnabled"] is False


def test_a_failed_action_stands_in_the_history(watch: Watch) -> None:
    Recorder(watch, "arn:aws:autoscaling", refusal="no such policy")
    watch.put(20.0, at=NOON - 60)
    watch.alarm(AlarmActions=[POLICY, TOPIC])
    watch.evaluate()
    summaries = {item["HistorySummary"]: item for item in watch.history(HistoryItemType="Action")}
    assert set(summaries) == {
        f"Failed to execute AutoScaling action: {POLICY}",
        f"Successfully executed action {TOPIC}",
    }
    assert (
        json.loads(summaries[f"Failed to execute AutoScaling action: {POLICY}"]["HistoryData"])["error"]
        == "no such policy"
    )


def test_auto_scaling_is_told_again_every_minute(watch: Watch) -> None:
    policy = Recorder(watch, "arn:aws:autoscaling")
    watch.alarm(AlarmActions=[POLICY], TreatMissingData="breaching")
    counts = []
    for _ in range(8):
        watch.evaluate()
        counts.append(len(policy.told))
        watch.clock.time += 30
    assert counts == [1, 1, 2, 2, 3, 3, 4, 4]


def test_what_is_told_again_has_the_values_of_now(watch: Watch) -> None:
    policy = Recorder(watch, "arn:aws:autoscaling")
    watch.alarm(AlarmActions=[POLICY])
    for minute, value in enumerate((20.0, 70.0)):
        watch.put(value, at=NOON - 60 + 60 * minute)
    watch.evaluate()
    watch.clock.time += 60
    watch.evaluate()
    assert [one.values for one in policy.told] == [(20.0,), (70.0,)]


def test_a_daemon_that_died_before_it_acted_acts_after_its_restart(watch: Watch) -> None:
    watch.put(20.0, at=NOON - 60)
    watch.alarm(AlarmActions=[TOPIC])

    async def only_decide() -> None:
        watch.world.loop._closed = True  # as if it died between the commit and what follows from it
        await watch.evaluator.evaluate(f"cloudwatch.MetricAlarm/{ACCOUNT}/{REGION}/high")

    watch.loop.run_until_complete(only_decide())
    assert isinstance(alarm := watch.stored(), MetricAlarm)
    assert alarm.status.pending is not None
    assert watch.history(HistoryItemType="Action") == []
    watch.stop()
    watch.start()
    assert watch.history(HistoryItemType="Action")[0]["HistorySummary"] == f"Successfully executed action {TOPIC}"
    assert watch.state() == "ALARM"


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"Period": 45}, "ValidationError", "Period must be 10, 20, 30 or a multiple of 60."),
        ({"EvaluationPeriods": 1441}, "ValidationError", "(EvaluationPeriods * Period must be <= 86400)"),
        ({"EvaluationPeriods": 169, "Period": 3600}, "ValidationError", "604800"),
        ({"EvaluationPeriods": 2, "DatapointsToAlarm": 3}, "ValidationError", "DatapointsToAlarm"),
        (
            {"TreatMissingData": "bad"},
            "ValidationError",
            "not supported for TreatMissingData parameter. Supported values are [breaching, notBreaching, ignore, missing].",
        ),
        ({"Threshold": float("nan")}, "ValidationError", "Threshold"),
        ({"ExtendedStatistic": "p90", "Statistic": "Sum"}, "ValidationError", "Exactly one of"),
        (
            {"ExtendedStatistic": "p900"},
            "InvalidParameterValue",
            "p900 for parameter ExtendedStatistic is not supported.",
        ),
        ({"EvaluateLowSampleCountPercentile": "ignore"}, "ValidationError", "percentiles"),
        ({"EvaluateLowSampleCountPercentile": "x"}, "ValidationError", "Option x is not supported."),
        ({"AlarmActions": ["nonsense"]}, "ValidationError", "Invalid arn syntax: nonsense"),
        ({"AlarmActions": ["arn:aws:automate:us-east-1:ec2:explode"]}, "ValidationError", "Invalid arn syntax"),
        ({"AlarmActions": ["arn:aws:automate:eu-west-1:ec2:stop"]}, "ValidationError", "Invalid region eu-west-1"),
        ({"AlarmActions": [STOP]}, "ValidationError", "InstanceId"),
        ({"AlarmActions": ["arn:aws:lambda:us-east-1:111122223333:function:f"]}, "NotImplemented", "lambda"),
        ({"ThresholdMetricId": "x"}, "NotImplemented", "ThresholdMetricId"),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "NotImplemented", "anomaly"),
        ({"EvaluationInterval": 60}, "NotImplemented", "EvaluationInterval"),
        ({"WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 5}}, "NotImplemented", "WarmUp"),
        ({"EvaluationWindow": {"WallClockWindow": {}}}, "NotImplemented", "WallClock"),
        ({"Metrics": [query("a", ReturnData=True)], "MetricName": "x"}, "ValidationError", "must not be specified"),
        ({"Metrics": [query("a")]}, "ValidationError", "Exactly one element of the metrics list should return data."),
        (
            {"Metrics": [query("a", ReturnData=True), query("b", ReturnData=True)]},
            "ValidationError",
            "Exactly one element",
        ),
        ({"Metrics": [query(f"m{n}", ReturnData=n == 0) for n in range(11)]}, "ValidationError", "at most 10"),
        ({"Metrics": [{"Id": "e", "Expression": "m + 1"}]}, "ValidationError", "Unknown id 'm'"),
        ({"Metrics": [query("m"), {"Id": "e", "Expression": "[m, m]"}]}, "ValidationError", "single time series"),
        ({"Metrics": [query("m"), {"Id": "e", "Expression": "AVG(m)"}]}, "ValidationError", "single time series"),
        ({"Metrics": [query("m"), {"Id": "e", "Expression": "NOPE(m)"}]}, "ValidationError", "Unknown function"),
        ({"Metrics": [query("a", ReturnData=True)], "AlarmActions": [STOP]}, "ValidationError", "EC2 actions"),
        ({"Tags": [{"Key": "aws:x", "Value": ""}]}, "InvalidParameterValue", "aws:"),
    ],
)
def test_what_put_metric_alarm_refuses(watch: Watch, params: dict[str, Any], code: str, text: str) -> None:
    base: dict[str, Any] = {"EvaluationPeriods": 1, "Threshold": 10.0, "ComparisonOperator": "GreaterThanThreshold"}
    if "Metrics" not in params:
        base |= {"MetricName": "load", "Namespace": "app", "Period": 60}
        base |= {} if "ExtendedStatistic" in params else {"Statistic": "Average"}
    found = watch.refused("PutMetricAlarm", AlarmName="bad", **(base | params))
    assert found[0] == code
    assert text in found[1]


@pytest.mark.parametrize(
    "name", ["EvaluationPeriods", "Threshold", "ComparisonOperator", "MetricName", "Namespace", "Period"]
)
def test_what_put_metric_alarm_needs(watch: Watch, name: str) -> None:
    base = {
        "EvaluationPeriods": 1,
        "Threshold": 10.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "MetricName": "load",
        "Namespace": "app",
        "Period": 60,
        "Statistic": "Sum",
    }
    del base[name]
    code, text = watch.refused("PutMetricAlarm", AlarmName="bad", **base)
    assert (code, f"'{name[0].lower()}{name[1:]}'" in text) == ("ValidationError", True)


def test_an_update_replaces_all_and_keeps_the_state(watch: Watch) -> None:
    watch.put(20.0, at=NOON - 60)
    watch.alarm(AlarmDescription="one", Tags=[{"Key": "a", "Value": "b"}])
    watch.evaluate()
    watch.clock.time += 1
    watch.alarm(EvaluationPeriods=2, TreatMissingData="ignore", Tags=[{"Key": "c", "Value": "d"}])
    shown = watch.shown()
    assert "AlarmDescription" not in shown
    assert (shown["StateValue"], shown["EvaluationPeriods"]) == ("ALARM", 2)
    assert watch("ListTagsForResource", ResourceARN=ARN)["Tags"] == [{"Key": "a", "Value": "b"}]


def test_describe_alarms_filters(watch: Watch) -> None:
    watch.put(20.0, at=NOON - 60)
    watch.alarm("web-1", AlarmActions=[TOPIC])
    watch.alarm("web-2", MetricName="other")
    watch.alarm("db/ü", MetricName="other")
    watch.evaluate()

    def names(**params: Any) -> list[str]:
        return [one["AlarmName"] for one in watch("DescribeAlarms", **params)["MetricAlarms"]]

    assert names() == ["db/ü", "web-1", "web-2"]
    assert names(AlarmNamePrefix="web") == ["web-1", "web-2"]
    assert names(AlarmNames=["db/ü", "none"]) == ["db/ü"]
    assert names(StateValue="ALARM") == ["web-1"]
    assert names(ActionPrefix="arn:aws:sns") == ["web-1"]
    assert names(AlarmTypes=["CompositeAlarm"]) == []
    page = watch("DescribeAlarms", MaxRecords=2)
    assert names(MaxRecords=2, NextToken=page["NextToken"]) == ["web-2"]
    assert watch.refused("DescribeAlarms", AlarmNames=["a"], AlarmNamePrefix="b")[0] == "ValidationError"


def test_describe_alarms_for_metric(watch: Watch) -> None:
    watch.alarm("sum", Statistic="Sum", Unit="Bytes")
    watch.alarm("p90", ExtendedStatistic="p90")
    watch.alarm("other", MetricName="other")
    watch.alarm("math", Metrics=[query("a", ReturnData=True)])
    metric = {"MetricName": "load", "Namespace": "app"}

    def names(**params: Any) -> list[str]:
        return [one["AlarmName"] for one in watch("DescribeAlarmsForMetric", **metric, **params)["MetricAlarms"]]

    assert names() == ["p90", "sum"]
    assert names(Statistic="Sum") == ["sum"]
    assert names(ExtendedStatistic="p90") == ["p90"]
    assert names(Unit="Bytes") == ["sum"]
    assert names(Period=300) == []
    assert names(Dimensions=[{"Name": "a", "Value": "b"}]) == []


def test_deleting_passes_over_unknown_names(watch: Watch) -> None:
    watch.alarm()
    watch("DeleteAlarms", AlarmNames=["none", "high"])
    assert watch("DescribeAlarms")["MetricAlarms"] == []
    watch("DeleteAlarms", AlarmNames=["none"])


def test_tags(watch: Watch) -> None:
    watch.alarm()
    watch("TagResource", ResourceARN=ARN, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    watch("UntagResource", ResourceARN=ARN, TagKeys=["a", "none"])
    assert watch("ListTagsForResource", ResourceARN=ARN)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert watch.refused("ListTagsForResource", ResourceARN=ARN + "x")[0] == "ResourceNotFoundException"
    assert watch.refused("ListTagsForResource", ResourceARN="x")[0] == "InvalidParameterValue"


def test_awss_own_ticks() -> None:
    """Every ten seconds, a little after their end; of a minute's alarms every sixth is theirs."""
    assert next_tick(100.0, Settings()) == 102.0
    assert next_tick(102.0, Settings()) == 112.0
    assert next_tick(100.2, Settings(alarm_evaluation_s=0.5)) == 100.5


def test_a_faster_clock_looks_at_the_running_period_and_shortens_a_minute(watch: Watch) -> None:
    watch.alarm(EvaluationPeriods=3, Period=120)
    alarm = watch.stored()
    assert isinstance(alarm, MetricAlarm)
    now = int(NOON * 1000) + 4500
    fast = window_of(alarm, now, Settings(alarm_evaluation_s=1, alarm_minute_s=5))
    assert (fast.period_ms, fast.end_ms - now, fast.buckets) == (10_000, 5500, 6)
    slow = window_of(alarm, now, Settings())
    assert (slow.period_ms, now - slow.end_ms, slow.buckets) == (120_000, 4500, 5)


def test_with_a_short_minute_three_of_three_minutes_take_three_seconds(tmp_path: Path) -> None:
    watch = Watch(tmp_path, alarm_evaluation_s=0.5, alarm_minute_s=1)
    watch.alarm(EvaluationPeriods=3)
    states = []
    for _ in range(4):
        watch.put(20.0)
        watch.evaluate()
        states.append(watch.state())
        watch.clock.time += 1
    assert states[-1] == "ALARM"
    assert states[0] == "INSUFFICIENT_DATA"
    watch.stop()
    watch.loop.close()


def summed(expression: str) -> list[dict[str, Any]]:
    """What `expression` makes of the sum m1 of the metric that `alarm` watches and of its average m2, by the minute."""
    metric = {"Metric": {"Namespace": "app", "MetricName": "load"}, "Period": 60}
    stats = [
        {"Id": f"m{n}", "MetricStat": metric | {"Stat": stat}, "ReturnData": False}
        for n, stat in ((1, "Sum"), (2, "Average"))
    ]
    return [*stats, {"Id": "e1", "Expression": expression}]


@pytest.mark.parametrize("expression", ["", "m1", "SUM([m1, m1]) / 2", "m1 + FILL(m1 * 2, 0) - m1 * 2", "m1 * m2 / m2"])
@pytest.mark.parametrize(("comparison", "busy"), [("GreaterThanThreshold", "ALARM"), ("LessThanThreshold", "OK")])
def test_a_sum_that_still_grows_counts_only_once_it_is_past_the_threshold(
    tmp_path: Path, comparison: str, busy: str, expression: str
) -> None:
    """Under steady load the beginning of each minute is not the end of the load, whether a sum is watched or what is computed of sums."""
    watch = Watch(tmp_path, alarm_evaluation_s=5)
    watched = {"Metrics": summed(expression)} if expression else {"Statistic": "Sum"}
    watch.alarm(Threshold=100.0, ComparisonOperator=comparison, **watched)
    states = []
    for _ in range(24):  # twelve seconds a step, and the fixture begins with a minute
        watch.put(30.0)
        watch.evaluate()
        states.append(watch.state())
        watch.clock.time += 12
    quiet = {"ALARM": "OK", "OK": "ALARM"}[busy]
    assert set(states[6:]) == {busy}
    watch.clock.time += 60
    watch.put(1.0)
    watch.clock.time += 60
    watch.evaluate()
    assert watch.state() == quiet
    watch.stop()
    watch.loop.close()


@pytest.mark.parametrize(
    ("expression", "course"),
    [
        ("m1", "growing"),
        ("m2", "settled"),
        ("m2 * 100 - 3", "settled"),
        ("m1 * 2 + 1", "growing"),
        ("m1 - 5", "growing"),
        ("5 - m1", "open"),
        ("-m1", "open"),
        ("m1 / m1", "open"),
        ("m1 / 60", "growing"),
        ("m1 * m2", "open"),
        ("SUM([m1, m1])", "growing"),
        ("SUM(METRICS())", "open"),
        ("MAX(METRICS('1'))", "open"),
        ("FILL(m1, 0)", "growing"),
        ("FILL(m1, REPEAT)", "open"),
        ("IF(m1 > 3, 1, 0)", "open"),
        ("RATE(m1)", "open"),
    ],
)
def test_what_the_rest_of_a_period_may_still_change(expression: str, course: str) -> None:
    queries = {query.id: query for query in read_queries(summed(expression), "111122223333")}
    assert course_of("e1", queries) == course


@pytest.mark.parametrize(
    ("statistic", "course"),
    [
        ("Average", "settled"),
        ("p99", "settled"),
        ("TM(10%:90%)", "settled"),
        ("PR(0:5)", "settled"),
        ("TC(0:100)", "growing"),
        ("TS(0:100)", "growing"),
        ("tc90", "growing"),
        ("TC(10%:)", "growing"),
        ("TS(10%:)", "growing"),
        ("ts90", "open"),
        ("TC(25%:75%)", "open"),
    ],
)
def test_trimmed_counts_and_sums_of_a_running_period(statistic: str, course: str) -> None:
    metric = {"Metric": {"Namespace": "gureum", "MetricName": "x"}, "Period": 60, "Stat": statistic}
    [query] = read_queries([{"Id": "m1", "MetricStat": metric}], "111122223333")
    assert course_of("m1", {"m1": query}) == course
