"""Metric filters and subscription filters. Sources: the API reference (botocore's texts) and the CloudWatch Logs User Guide, "Configuring metric
values for a metric filter"."""

from __future__ import annotations

import json

import pytest

from gureum.ports.telemetry import TelemetryFull

MINUTE = 60_000


def transformation(**further):
    return {"metricName": "count", "metricNamespace": "App", "metricValue": "1", **further}


def put_filter(logs, pattern, name="f", group="g", **further):
    logs(
        "PutMetricFilter",
        logGroupName=group,
        filterName=name,
        filterPattern=pattern,
        metricTransformations=[transformation(**further)],
    )


def shown(logs):
    """(minutes from now, dimensions, values, counts) of what was written."""
    start = logs.now_ms - logs.now_ms % MINUTE
    return [
        ((one.time_ms - start) // MINUTE, dict(one.series.dimensions), one.values, one.counts)
        for one in logs.metrics.datums
    ]


@pytest.fixture
def app(logs):
    logs.group("g", "s")
    return logs


def test_matches_are_counted(app):
    put_filter(app, "ERROR", unit="Count")
    app.put("g", "s", "ERROR one", "fine", "ERROR two")
    [datum] = app.metrics.datums
    assert (datum.series.scope, datum.series.namespace, datum.series.name) == ("111122223333/us-east-1", "App", "count")
    assert (datum.count, datum.sum, datum.min, datum.max, datum.unit) == (2, 2, 1, 1, "Count")
    assert datum.time_ms % MINUTE == 0


def test_a_unit_is_shown_that_was_given(app):
    """AWS's answer without one as LocalStack has recorded it (test_put_metric_filter_basic)."""
    put_filter(app, "ERROR")
    put_filter(app, "ERROR", name="f2", unit="None")
    told = [one["metricTransformations"][0] for one in app("DescribeMetricFilters")["metricFilters"]]
    assert [one.get("unit") for one in told] == [None, "None"]
    app.put("g", "s", "ERROR one")
    assert {datum.unit for datum in app.metrics.datums} == {"None"}


def test_a_namespace_may_have_what_cloudwatch_lets_it_have(app):
    """As LocalStack's suite does against AWS (test_put_metric_filter_with_special_namespace), though the model has no colon there."""
    namespace = "A.B-c_d/1#2:metricNamespace"
    put_filter(app, "ERROR", metricNamespace=namespace)
    (told,) = app("DescribeMetricFilters", metricName="count", metricNamespace=namespace)["metricFilters"]
    assert told["filterName"] == "f"
    app.put("g", "s", "ERROR one")
    assert [one.series.namespace for one in app.metrics.datums] == [namespace]


def test_each_minute_is_a_datum_and_values_come_from_fields(app):
    put_filter(app, "{ $.latency = * }", metricValue="$.latency")
    events = [{"latency": 5}, {"latency": 5}, {"latency": "7.5"}, {"latency": "slow"}, {"other": 1}]
    app.put("g", "s", *map(json.dumps, events), at_ms=app.now_ms - app.now_ms % MINUTE - MINUTE, step_ms=20_000)
    assert shown(app) == [(-1, {}, (5.0, 7.5), (2.0, 1.0))]


def test_the_default_value_is_for_minutes_without_a_match(app):
    """The guide's example: two records every minute, value 1, default 0: 2 in the first minute, 0 in the second."""
    put_filter(app, "ERROR", defaultValue=0)
    start = app.now_ms - app.now_ms % MINUTE - 2 * MINUTE
    app.put("g", "s", "ERROR", "ERROR", at_ms=start)
    app.put("g", "s", "fine", "fine", at_ms=start + MINUTE)
    app.put("g", "s", "fine", "ERROR", at_ms=start + 2 * MINUTE)
    assert [
        (minute, sum(v * n for v, n in zip(values, counts, strict=True))) for minute, _, values, counts in shown(app)
    ] == [
        (-2, 2),
        (-1, 0),
        (0, 1),
    ]


def test_dimensions_come_from_fields_and_events_without_them_give_nothing(app):
    dimensions = {"Status": "$status", "Method": "$method"}
    put_filter(app, "[method, path, status, size]", metricValue="$size", dimensions=dimensions)
    app.put("g", "s", "GET /a 200 10", "GET /b 200 30", "PUT /a 500 1", "bad line", 'GET /a "" 5')
    assert shown(app) == [
        (0, {"Method": "GET", "Status": "200"}, (10.0, 30.0), (1.0, 1.0)),
        (0, {"Method": "PUT", "Status": "500"}, (1.0,), (1.0,)),
    ]


def test_a_filter_is_changed_in_place_and_ends_when_it_is_deleted(app):
    put_filter(app, "one")
    put_filter(app, "two", defaultValue=1.5)
    [found] = app("DescribeMetricFilters", logGroupName="g")["metricFilters"]
    assert found["filterPattern"] == "two"
    assert found["metricTransformations"] == [transformation(defaultValue=1.5)]
    assert app("DescribeLogGroups")["logGroups"][0]["metricFilterCount"] == 1
    app("DeleteMetricFilter", logGroupName="g", filterName="f")
    assert app.code("DeleteMetricFilter", logGroupName="g", filterName="f") == "ResourceNotFoundException"
    app.put("g", "s", "two")
    assert app.metrics.datums == []


def test_filters_are_described_by_group_prefix_and_metric(app):
    app.group("h")
    put_filter(app, "", "b")
    put_filter(app, "", "a", metricName="other")
    put_filter(app, "", "b", "h")

    def names(**params):
        found = app("DescribeMetricFilters", **params)["metricFilters"]
        return [(one["logGroupName"], one["filterName"]) for one in found]

    assert names() == [("g", "a"), ("g", "b"), ("h", "b")]
    assert names(logGroupName="g", filterNamePrefix="b") == [("g", "b")]
    assert names(metricName="count", metricNamespace="App") == [("g", "b"), ("h", "b")]
    assert app.code("DescribeMetricFilters", metricName="count") == "InvalidParameterException"
    assert app.code("DescribeMetricFilters", logGroupName="none") == "ResourceNotFoundException"
    page = app("DescribeMetricFilters", limit=2)
    rest = app("DescribeMetricFilters", limit=2, nextToken=page["nextToken"])
    assert [one["logGroupName"] for one in rest["metricFilters"]] == ["h"]


@pytest.mark.parametrize(
    ("pattern", "further", "code"),
    [
        ("{", {}, "InvalidParameterException"),
        ("x", {"metricValue": "many"}, "InvalidParameterException"),
        ("x", {"metricValue": "$.latency"}, "InvalidParameterException"),
        ("x", {"dimensions": {"A": "$.a"}}, "InvalidParameterException"),
        ("[a, b]", {"metricValue": "$.a"}, "InvalidParameterException"),
        ("{ $.a = 1 }", {"metricValue": "$a"}, "InvalidParameterException"),
        ("{ $.a = 1 }", {"dimensions": {"A": "$.a"}, "defaultValue": 0}, "InvalidParameterException"),
        ("{ $.a = 1 }", {"dimensions": dict.fromkeys("ABCD", "$.a")}, "InvalidParameterException"),
        ("x", {"unit": "Apples"}, "InvalidParameterException"),
        ("x", {"metricName": "a:b"}, "InvalidParameterException"),
    ],
)
def test_filters_that_cannot_be(app, pattern, further, code):
    params = {"logGroupName": "g", "filterName": "f", "filterPattern": pattern}
    assert app.code("PutMetricFilter", **params, metricTransformations=[transformation(**further)]) == code


def test_a_group_has_at_most_100_filters_and_5_with_regular_expressions(app):
    one = {"logGroupName": "g", "metricTransformations": [transformation()]}
    for n in range(5):
        put_filter(app, f"%a{n}%", f"r{n}")
    assert app.code("PutMetricFilter", filterName="r5", filterPattern="%x%", **one) == "LimitExceededException"
    put_filter(app, "%changed%", "r4")
    for n in range(95):
        put_filter(app, "a", f"f{n}")
    assert app.code("PutMetricFilter", filterName="more", filterPattern="a", **one) == "LimitExceededException"
    put_filter(app, "b", "f0")


def test_groups_of_infrequent_access_take_no_filters(app):
    app.group("cold", logGroupClass="INFREQUENT_ACCESS")
    params = {"logGroupName": "cold", "filterName": "f", "filterPattern": ""}
    code = app.code("PutMetricFilter", **params, metricTransformations=[transformation()])
    assert code == "InvalidOperationException"


def test_parameters_that_are_not_built_are_named(app):
    params = {"logGroupName": "g", "filterName": "f", "filterPattern": "", "metricTransformations": [transformation()]}
    code, text = app.refused("PutMetricFilter", **params, applyOnTransformedLogs=True)
    assert code == "NotImplemented"
    assert "applyOnTransformedLogs" in text


def test_a_pattern_is_tried_on_messages(app):
    """The reference's example of TestMetricFilter."""
    messages = [
        '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 200 1534',
        "nothing of that kind",
        '127.0.0.1 - frank [10/Oct/2000:13:50:35 -0700] "GET /apache_pb.gif HTTP/1.0" 200 4355',
    ]
    pattern = "[ip, identity, user_id, timestamp, request, status_code, size]"
    matches = app("TestMetricFilter", filterPattern=pattern, logEventMessages=messages)["matches"]
    assert [one["eventNumber"] for one in matches] == [0, 2]
    assert matches[0]["extractedValues"] == {
        "$ip": "127.0.0.1",
        "$identity": "-",
        "$user_id": "frank",
        "$timestamp": "10/Oct/2000:13:25:15 -0700",
        "$request": "GET /apache_pb.gif HTTP/1.0",
        "$status_code": "200",
        "$size": "1534",
    }
    assert app("TestMetricFilter", filterPattern="nothing", logEventMessages=messages)["matches"] == [
        {"eventNumber": 1, "eventMessage": messages[1], "extractedValues": {}}
    ]


def test_events_are_kept_once_when_their_metrics_cannot_be(app, monkeypatch):
    async def full(datums):
        raise TelemetryFull

    put_filter(app, "ERROR")
    monkeypatch.setattr(app.metrics, "write", full)
    app.put("g", "s", "ERROR")
    assert len(app("FilterLogEvents", logGroupName="g")["events"]) == 1


TARGET = "arn:aws:logs:us-east-1:111122223333:log-group:target"


def subscribe(logs, group="g", destination=TARGET, pattern="ERROR", name="f", **further):
    params = {"filterName": name, "filterPattern": pattern, "destinationArn": destination}
    return logs("PutSubscriptionFilter", logGroupName=group, **params, **further)


def test_a_subscription_leads_matching_events_to_another_group(app):
    app.group("target")
    subscribe(app, destination=f"{TARGET}:*")
    put_filter(app, "ERROR", group="target")
    app.put("g", "s", "ERROR one", "fine")
    [event] = app("FilterLogEvents", logGroupName="target")["events"]
    assert (event["message"], event["logStreamName"]) == ("ERROR one", "s")
    assert [one["logStreamName"] for one in app("DescribeLogStreams", logGroupName="target")["logStreams"]] == ["s"]
    assert len(app.metrics.datums) == 1
    [found] = app("DescribeSubscriptionFilters", logGroupName="g", filterNamePrefix="f")["subscriptionFilters"]
    assert found["destinationArn"] == TARGET
    app("DeleteLogGroup", logGroupName="target")
    app.put("g", "s", "ERROR two")
    app("DeleteSubscriptionFilter", logGroupName="g", filterName="f")
    assert app.code("DeleteSubscriptionFilter", logGroupName="g", filterName="f") == "ResourceNotFoundException"


def test_two_groups_cannot_feed_each_other(app):
    app.group("target")
    subscribe(app)
    subscribe(app, group="target", destination=TARGET.replace("target", "g"))
    app.put("g", "s", "ERROR")
    for group in ("g", "target"):
        assert len(app("FilterLogEvents", logGroupName=group)["events"]) == 1


@pytest.mark.parametrize(
    ("destination", "code"),
    [
        ("arn:aws:lambda:us-east-1:111122223333:function:f", "NotImplemented"),
        ("arn:aws:kinesis:us-east-1:111122223333:stream/s", "NotImplemented"),
        ("arn:aws:firehose:us-east-1:111122223333:deliverystream/s", "NotImplemented"),
        ("arn:aws:logs:us-east-1:111122223333:destination:d", "NotImplemented"),
        ("arn:aws:sqs:us-east-1:111122223333:q", "InvalidParameterException"),
        ("nonsense", "InvalidParameterException"),
        (TARGET, "ResourceNotFoundException"),
        (TARGET.replace("target", "g"), "InvalidParameterException"),
    ],
)
def test_destinations_that_are_not_here_are_told_so(app, destination, code):
    params = {"logGroupName": "g", "filterName": "f", "filterPattern": ""}
    assert app.code("PutSubscriptionFilter", **params, destinationArn=destination) == code


def test_a_group_has_at_most_two_subscriptions(app):
    app.group("target")
    subscribe(app, name="a")
    subscribe(app, name="b")
    params = {"logGroupName": "g", "filterName": "c", "filterPattern": ""}
    assert app.code("PutSubscriptionFilter", **params, destinationArn=TARGET) == "LimitExceededException"
    subscribe(app, name="b", pattern="other")
