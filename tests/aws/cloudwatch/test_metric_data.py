"""PutMetricData, ListMetrics, GetMetricStatistics, GetMetricData on a clock that stands still."""

from __future__ import annotations

from typing import Any

import pytest

from tests.aws.cloudwatch.conftest import ACCOUNT, NOON, Watch, stamp_of

HOUR = 3600.0
DAY = 24 * HOUR


def datum(**more: Any) -> dict[str, Any]:
    return {"MetricName": "load", **more}


def refused(watch: Watch, one: dict[str, Any], namespace: str = "app") -> tuple[str, str]:
    return watch.refused("PutMetricData", Namespace=namespace, MetricData=[one])


def statistics(
    watch: Watch, *names: str, start: float = -HOUR, end: float = HOUR, **params: Any
) -> list[dict[str, Any]]:
    kind = (
        "ExtendedStatistics"
        if names and names[0] not in ("Sum", "Average", "Minimum", "Maximum", "SampleCount")
        else "Statistics"
    )
    base = {
        "Namespace": "app",
        "MetricName": "load",
        "StartTime": stamp_of(watch.clock.time + start),
        "EndTime": stamp_of(watch.clock.time + end),
        "Period": 60,
        kind: list(names),
    }
    found = watch("GetMetricStatistics", **(base | params))["Datapoints"]
    return sorted(found, key=lambda one: one["Timestamp"])


def stat(id_: str, stat: str = "Sum", period: int = 60, name: str = "load", **more: Any) -> dict[str, Any]:
    metric = {"Namespace": "app", "MetricName": name, "Dimensions": []}
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}, **more}


def tenfold(number: int) -> dict[str, Any]:
    """An array of ten times what the one before has: a thousand million at the ninth."""
    return {"Id": f"a{number}", "Expression": f"[{','.join([f'a{number - 1}'] * 10)}]", "ReturnData": False}


def data(watch: Watch, *queries: dict[str, Any], start: float = -600, end: float = 60, **params: Any) -> dict[str, Any]:
    times = {"StartTime": stamp_of(watch.clock.time + start), "EndTime": stamp_of(watch.clock.time + end)}
    return watch(
        "GetMetricData", MetricDataQueries=list(queries), **(times | {"ScanBy": "TimestampAscending"} | params)
    )


@pytest.mark.parametrize(
    ("one", "code", "text"),
    [
        ({}, "MissingParameter", "At least one of"),
        (
            {"Value": float("nan")},
            "InvalidParameterValue",
            "The value NaN for parameter MetricData.member.1.Value is invalid.",
        ),
        ({"Value": float("inf")}, "InvalidParameterValue", "Infinity"),
        ({"Value": 2.0**361}, "InvalidParameterValue", "out of range"),
        (
            {"Value": 1.0, "Values": [1.0]},
            "InvalidParameterCombination",
            "mutually exclusive and you have specified both",
        ),
        ({"Value": 1.0, "Counts": [1.0]}, "InvalidParameterCombination", "Counts"),
        ({"Values": [1.0, 2.0], "Counts": [1.0]}, "InvalidParameterValue", "must be of the same size"),
        ({"Values": [1.0] * 151}, "InvalidParameterValue", "must not have a size greater than 150"),
        ({"Values": [1.0], "Counts": [0.0]}, "InvalidParameterValue", "Counts.member.1"),
        ({"Values": []}, "MissingParameter", "Values"),
        ({"Value": 1.0, "StorageResolution": 5}, "InvalidParameterValue", "StorageResolution"),
        (
            {"Value": 1.0, "Timestamp": stamp_of(NOON - 14 * DAY - 1)},
            "InvalidParameterValue",
            "within the past two weeks",
        ),
        (
            {"Value": 1.0, "Timestamp": stamp_of(NOON + 2 * HOUR + 1)},
            "InvalidParameterValue",
            "two hours in the future",
        ),
        ({"Value": 1.0, "Dimensions": [{"Name": ":a", "Value": "b"}]}, "InvalidParameterValue", "Name is invalid"),
        ({"Value": 1.0, "Dimensions": [{"Name": "a", "Value": " "}]}, "InvalidParameterValue", "Value is invalid"),
        ({"Value": 1.0, "Dimensions": [{"Name": "a", "Value": "b"}] * 2}, "InvalidParameterValue", "twice"),
    ],
)
def test_what_put_metric_data_refuses(watch: Watch, one: dict[str, Any], code: str, text: str) -> None:
    found = refused(watch, datum(**one))
    assert found[0] == code
    assert text in found[1]


def test_statistic_sets_are_checked(watch: Watch) -> None:
    for bad in ({"SampleCount": 0.0}, {"Minimum": 9.0}, {"Sum": float("nan")}):
        good = {"SampleCount": 2.0, "Sum": 3.0, "Minimum": 1.0, "Maximum": 2.0}
        assert refused(watch, datum(StatisticValues=good | bad))[0] == "InvalidParameterValue"


def test_namespaces_of_aws_are_not_for_users(watch: Watch) -> None:
    assert refused(watch, datum(Value=1.0), "AWS/EC2") == (
        "InvalidParameterValue",
        "The value AWS/ for parameter Namespace is invalid.",
    )
    assert refused(watch, datum(Value=1.0), "näme")[0] == "InvalidParameterValue"
    assert watch.refused("PutMetricData", Namespace="app")[0] == "MissingParameter"
    many = [datum(Value=1.0)] * 1001
    assert "greater than 1000" in watch.refused("PutMetricData", Namespace="app", MetricData=many)[1]
    assert watch.refused("PutMetricData", Namespace="app", EntityMetricData=[{"MetricData": []}])[0] == "NotImplemented"


def test_one_bad_datum_keeps_all_out(watch: Watch) -> None:
    watch.refused("PutMetricData", Namespace="app", MetricData=[datum(Value=1.0), datum()])
    assert watch("ListMetrics")["Metrics"] == []


def test_values_of_a_minute_are_put_together(watch: Watch) -> None:
    watch.put(1.0, 2.0, at=NOON - 50)
    watch.put(6.0, at=NOON - 10)
    watch.put(5.0, at=NOON)
    found = statistics(watch, "Sum", "Average", "Minimum", "Maximum", "SampleCount")
    assert found[0] == {
        "Timestamp": NOON - 60,
        "Unit": "None",
        "Sum": 9.0,
        "Average": 3.0,
        "Minimum": 1.0,
        "Maximum": 6.0,
        "SampleCount": 3.0,
    }
    assert [one["Sum"] for one in found] == [9.0, 5.0]


def test_values_with_counts_and_statistic_sets(watch: Watch) -> None:
    watch("PutMetricData", Namespace="app", MetricData=[datum(Values=[1.0, 5.0], Counts=[3.0, 1.0])])
    assert statistics(watch, "p50", "p100", "tm75")[0]["ExtendedStatistics"] == {"p50": 1.0, "p100": 5.0, "tm75": 1.0}
    alike = {"SampleCount": 4.0, "Sum": 8.0, "Minimum": 2.0, "Maximum": 2.0}
    watch("PutMetricData", Namespace="app", MetricData=[datum(StatisticValues=alike)])
    assert statistics(watch, "p75")[0]["ExtendedStatistics"] == {"p75": 2.0}
    unlike = {"SampleCount": 2.0, "Sum": 9.0, "Minimum": 2.0, "Maximum": 7.0}
    watch("PutMetricData", Namespace="app", MetricData=[datum(StatisticValues=unlike)])
    assert statistics(watch, "p75") == []
    assert statistics(watch, "Sum")[0]["Sum"] == 8.0 + 8.0 + 9.0


def test_a_metric_is_exactly_its_dimensions(watch: Watch) -> None:
    dimensions = [{"Name": "host", "Value": "a"}, {"Name": "az", "Value": "z"}]
    watch.put(1.0, Dimensions=dimensions)
    assert statistics(watch, "Sum") == []
    assert statistics(watch, "Sum", Dimensions=dimensions[:1]) == []
    assert statistics(watch, "Sum", Dimensions=dimensions[::-1])[0]["Sum"] == 1.0


def test_units_are_kept_apart(watch: Watch) -> None:
    watch.put(1.0, Unit="Bytes")
    watch.put(2.0, Unit="Seconds")
    assert [(one["Unit"], one["Sum"]) for one in statistics(watch, "Sum")] == [("Bytes", 1.0), ("Seconds", 2.0)]
    assert [one["Sum"] for one in statistics(watch, "Sum", Unit="Seconds")] == [2.0]
    assert statistics(watch, "Sum", Unit="Percent") == []


def queried(watch: Watch, *stats: dict[str, Any]) -> list[dict[str, Any]]:
    """MetricDataResults of queries of "load"."""
    metric = {"Namespace": "app", "MetricName": "load"}
    queries = [
        {"Id": f"q{number}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"} | stat}
        for number, stat in enumerate(stats)
    ]
    found = watch(
        "GetMetricData", MetricDataQueries=queries, StartTime=stamp_of(NOON - 60), EndTime=stamp_of(NOON + 120)
    )
    return list(found["MetricDataResults"])


@pytest.mark.parametrize(
    ("units", "value", "told"),
    [
        ({"Seconds": [1.0], "Milliseconds": [60000.0]}, 60000.0, "[Milliseconds, Seconds]"),
        ({"Seconds": [1.0], "Milliseconds": [60000.0, 60000.0]}, 120000.0, "[Milliseconds, Seconds]"),
        ({"Seconds": [1.0], "Milliseconds": [60000.0], "Count": [5.0]}, 5.0, "[Count, Milliseconds, Seconds]"),
        ({"None": [3.0], "Seconds": [1.0]}, 1.0, "[None, Seconds]"),
    ],
)
def test_what_is_measured_in_several_units_is_not_added_up(
    watch: Watch, units: dict[str, list[float]], value: float, told: str
) -> None:
    """AWS's answers as LocalStack has recorded them (test_get_metric_data_different_units_no_unit_in_query)."""
    for unit, values in units.items():
        watch.put(*values, Unit=unit)
    (line,) = queried(watch, {})
    assert line["Values"] == [value]
    assert line["Messages"] == [{"Code": "MultipleUnits", "Value": f"Multiple units returned: '{told}'"}]
    (line,) = queried(watch, {"Unit": "Seconds"})
    assert (line["Values"], line.get("Messages", [])) == ([1.0], [])


@pytest.mark.parametrize(
    ("stats", "labels"),
    [
        ([{"Stat": "Sum"}], ["load"]),
        ([{"Stat": "Sum"}, {"Stat": "Minimum", "Period": 30}], ["load Sum 60", "load Minimum 30"]),
        ([{"Stat": "Sum"}, {"Stat": "Minimum"}], ["load Sum", "load Minimum"]),
        ([{"Stat": "Sum"}, {"Stat": "Sum", "Period": 30}], ["load 60", "load 30"]),
        ([{"Unit": "Seconds"}, {"Unit": "Milliseconds"}], ["load", "load"]),
    ],
)
def test_labels_tell_apart_what_is_asked_of_one_metric(
    watch: Watch, stats: list[dict[str, Any]], labels: list[str]
) -> None:
    """AWS's answers as LocalStack has recorded them (test_label_generation)."""
    assert [line["Label"] for line in queried(watch, *stats)] == labels


def test_buckets_begin_at_the_start(watch: Watch) -> None:
    """AWS's example of GetMetricStatistics: from 23:18 by the hour, the data points are at 18 minutes past."""
    for minute in (0, 1, 4, 5, 6):
        watch.put(1.0, at=NOON + 60 * minute)
    found = statistics(watch, "Sum", start=60, end=600, Period=300)
    assert [(one["Timestamp"] - NOON, one["Sum"]) for one in found] == [(60, 3.0), (360, 1.0)]


def test_the_start_counts_and_the_end_does_not(watch: Watch) -> None:
    for minute in (0, 1, 2):
        watch.put(1.0, at=NOON + 60 * minute)
    assert [one["Timestamp"] - NOON for one in statistics(watch, "Sum", start=59, end=120)] == [0, 60]


def test_high_resolution_data(watch: Watch) -> None:
    for second in (1, 4, 12):
        watch.put(1.0, at=NOON + second, StorageResolution=1)
    found = statistics(watch, "Sum", start=0, end=60, Period=10)
    assert [(one["Timestamp"] - NOON, one["Sum"]) for one in found] == [(0, 2.0), (10, 1.0)]
    assert len(statistics(watch, "Sum", start=0, end=60, Period=1)) == 3
    assert [one["Sum"] for one in statistics(watch, "Sum", start=0, end=60)] == [3.0]


def test_short_periods_are_there_for_three_hours_and_a_minute_for_fifteen_days(watch: Watch) -> None:
    watch.put(1.0, at=NOON - 4 * HOUR)
    assert statistics(watch, "Sum", start=-4 * HOUR, end=-4 * HOUR + 600, Period=10) == []
    assert len(statistics(watch, "Sum", start=-4 * HOUR, end=0)) == 1
    watch.clock.time += 15 * DAY
    assert statistics(watch, "Sum", start=-15 * DAY - 4 * HOUR, end=-15 * DAY, Period=60) == []
    assert len(statistics(watch, "Sum", start=-15 * DAY - 5 * HOUR, end=-15 * DAY, Period=300)) == 1


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"Period": 45}, "InvalidParameterValue", "Period"),
        (
            {"Period": 1},
            "InvalidParameterCombination",
            "You have requested up to 7,200 datapoints, which exceeds the limit of 1,440.",
        ),
        ({"EndTime": stamp_of(NOON - 2 * HOUR)}, "InvalidParameterValue", "must be less than"),
        (
            {"EndTime": stamp_of(NOON - HOUR + 0.5)},
            "InvalidParameterValue",
            "StartTime must not equal parameter EndTime.",
        ),
        ({"Statistics": []}, "InvalidParameterCombination", "Must specify either Statistics or ExtendedStatistics"),
        ({"ExtendedStatistics": ["p90"]}, "InvalidParameterCombination", "mutually exclusive"),
        ({"Statistics": [], "ExtendedStatistics": ["p101"]}, "InvalidParameterValue", "p101"),
    ],
)
def test_what_get_metric_statistics_refuses(watch: Watch, params: dict[str, Any], code: str, text: str) -> None:
    base = {"Namespace": "app", "MetricName": "load", "Period": 60, "Statistics": ["Sum"]}
    times = {"StartTime": stamp_of(NOON - HOUR), "EndTime": stamp_of(NOON + HOUR)}
    found = watch.refused("GetMetricStatistics", **{n: v for n, v in (base | times | params).items() if v != []})
    assert found[0] == code
    assert text in found[1]


def test_list_metrics_filters(watch: Watch) -> None:
    watch.put(1.0, Dimensions=[{"Name": "host", "Value": "a"}, {"Name": "az", "Value": "z"}])
    watch.put(1.0, name="other", at=NOON - 4 * HOUR)

    def names(**params: Any) -> list[str]:
        return [one["MetricName"] for one in watch("ListMetrics", **params)["Metrics"]]

    assert names() == ["load", "other"]
    assert names(MetricName="other") == ["other"]
    assert names(Namespace="nothing") == []
    assert names(Dimensions=[{"Name": "host"}]) == ["load"]
    assert names(Dimensions=[{"Name": "host", "Value": "b"}]) == []
    assert names(RecentlyActive="PT3H") == ["load"]
    watch.clock.time += 15 * DAY
    assert names() == []


def test_list_metrics_comes_in_pages_of_500(watch: Watch) -> None:
    for first in (0, 500):
        many = [datum(Value=1.0) | {"MetricName": f"m{n:04}"} for n in range(first, first + 300)]
        watch("PutMetricData", Namespace="app", MetricData=many)
    page = watch("ListMetrics")
    assert len(page["Metrics"]) == 500
    rest = watch("ListMetrics", NextToken=page["NextToken"])
    assert len(rest["Metrics"]) == 100
    assert "NextToken" not in rest
    assert watch.refused("ListMetrics", NextToken="x")[0] == "InvalidParameterValue"


def test_there_are_no_linked_accounts(watch: Watch) -> None:
    watch.put(1.0)
    assert watch("ListMetrics", IncludeLinkedAccounts=True)["OwningAccounts"] == [ACCOUNT]
    other = watch("ListMetrics", IncludeLinkedAccounts=True, OwningAccount="999999999999")
    assert other["Metrics"] == []


def test_get_metric_data_with_expressions(watch: Watch) -> None:
    for minute, value in enumerate((4.0, 8.0, 2.0)):
        watch.put(value, at=NOON - 180 + 60 * minute)
        watch.put(2.0, name="errors", at=NOON - 180 + 60 * minute)
    found = data(
        watch,
        stat("m1", ReturnData=False),
        stat("e", name="errors", Label="Errors ${SUM}"),
        {"Id": "rate", "Expression": "100 * e / m1", "Label": "rate (max ${MAX}, last ${LAST})"},
        {"Id": "both", "Expression": "RUNNING_SUM(METRICS())", "Label": "sum of"},
    )
    results = found["MetricDataResults"]
    assert [(one["Id"], one["Label"], one["Values"]) for one in results] == [
        ("e", "Errors 6", [2.0, 2.0, 2.0]),
        ("rate", "rate (max 100, last 100)", [50.0, 25.0, 100.0]),
        ("both", "sum of load", [4.0, 12.0, 14.0]),
        ("both", "sum of Errors ${SUM}", [2.0, 4.0, 6.0]),
    ]
    assert results[1]["Timestamps"] == [NOON - 180, NOON - 120, NOON - 60]
    assert {one["StatusCode"] for one in results} == {"Complete"}


def test_newest_first_unless_asked_otherwise(watch: Watch) -> None:
    watch.put(1.0, at=NOON - 120)
    watch.put(2.0, at=NOON - 60)
    times = {"StartTime": stamp_of(NOON - 300), "EndTime": stamp_of(NOON)}
    assert watch("GetMetricData", MetricDataQueries=[stat("m")], **times)["MetricDataResults"][0]["Values"] == [
        2.0,
        1.0,
    ]


def test_pages_of_data_points(watch: Watch) -> None:
    for minute in range(5):
        watch.put(float(minute), at=NOON - 300 + 60 * minute)
    queries = [stat("a"), stat("b")]
    values: dict[str, list[float]] = {"a": [], "b": []}
    token, pages = None, 0
    while pages == 0 or token:
        found = data(watch, *queries, MaxDatapoints=3, **({"NextToken": token} if token else {}))
        for one in found["MetricDataResults"]:
            values[one["Id"]] += one["Values"]
        token, pages = found.get("NextToken"), pages + 1
        assert (found["MetricDataResults"][1]["StatusCode"] == "Complete") is (token is None)
    assert (values, pages) == ({"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3, 4]}, 4)


def test_a_token_is_good_for_its_own_request_only(watch: Watch) -> None:
    watch.put(1.0)
    watch.put(1.0, at=NOON - 60)
    token = data(watch, stat("a"), MaxDatapoints=1)["NextToken"]
    times = {"StartTime": stamp_of(NOON - 600), "EndTime": stamp_of(NOON + 60)}
    for queries, text in (([stat("b")], token), ([stat("a")], "nonsense"), ([stat("a")], "LTE6eA==")):
        assert (
            watch.refused("GetMetricData", MetricDataQueries=queries, NextToken=text, **times)[0] == "InvalidNextToken"
        )


@pytest.mark.parametrize(
    ("queries", "code", "text"),
    [
        ([], "ValidationError", "required"),
        ([stat("a"), stat("a")], "ValidationError", "not unique"),
        ([stat("A")], "ValidationError", "lowercase"),
        (
            [stat("b"), {"Id": "a"}],
            "ValidationError",
            "The parameter MetricDataQueries.member.2.MetricStat is required.\n",
        ),
        ([stat("a") | {"Expression": "b"}], "ValidationError", "Exactly one of"),
        ([stat("a", ReturnData=False)], "ValidationError", "ReturnData"),
        ([stat("a", period=7)], "ValidationError", "period"),
        (
            [stat("a", stat="q9")],
            "ValidationError",
            "The value q9 for parameter MetricDataQueries.member.1.MetricStat.Stat is not a valid",
        ),
        ([{"Id": "a", "Expression": "b + 1"}], "ValidationError", "Error in expression 'a': Unknown id 'b'."),
        ([{"Id": "a", "Expression": "1 +"}], "ValidationError", "Error in expression 'a'"),
        ([{"Id": "a", "Expression": "b"}, {"Id": "b", "Expression": "a"}], "ValidationError", "circle"),
        ([stat("m"), {"Id": "a", "Expression": "SUM(m)"}], "ValidationError", "must be a time series"),
        ([{"Id": "a", "Expression": "SEARCH(' {app} load ', 'Sum', 60)"}], "NotImplemented", "SEARCH"),
        (
            [stat("m"), {"Id": "a", "Expression": "ANOMALY_DETECTION_BAND(m)"}],
            "NotImplemented",
            "ANOMALY_DETECTION_BAND",
        ),
        (
            [stat("a0"), *(tenfold(n) for n in range(1, 9))],
            "ValidationError",
            "'a3': An array holds 500 time series at most",
        ),
        ([{"Id": "a", "Expression": "SELECT AVG(load) FROM app"}], "NotImplemented", "Insights"),
        ([stat("a", AccountId="999999999999")], "NotImplemented", "AccountId"),
        ([stat("a", Label="${LABEL} ${LABEL}")], "ValidationError", "LABEL"),
    ],
)
def test_what_get_metric_data_refuses(watch: Watch, queries: list[dict[str, Any]], code: str, text: str) -> None:
    times = {"StartTime": stamp_of(NOON - 600), "EndTime": stamp_of(NOON)}
    found = watch.refused("GetMetricData", MetricDataQueries=queries, **times)
    assert found[0] == code
    assert text in found[1]


def test_a_chain_of_five_hundred_expressions(watch: Watch) -> None:
    watch.put(1.0)
    chain = [{"Id": f"e{n}", "Expression": f"e{n - 1} + 1", "ReturnData": n == 499} for n in range(1, 500)]
    found = data(watch, stat("e0", ReturnData=False), *chain[::-1])
    assert found["MetricDataResults"][0]["Values"] == [500.0]


def test_labels(watch: Watch) -> None:
    watch.put(1.23456, at=NOON - 120)
    watch.put(3.0, at=NOON - 60)
    label = "${LABEL} ${MIN} ${FIRST_TIME} ${LAST_TIME_RELATIVE} ${PROP('Stat')}/${PROP('Dim.x')} ${NOSUCH}"
    one = data(watch, stat("a", Label=label), LabelOptions={"Timezone": "+0130"})["MetricDataResults"][0]
    assert one["Label"] == "load 1.2346 2025-06-15 16:35:00 00:01:00 Sum/ ${NOSUCH}"
    empty = data(watch, stat("a", name="none", Label="x ${AVG}"))["MetricDataResults"][0]
    assert (empty["Label"], empty["Values"]) == ("x --", [])
