"""Bad input to every operation of CloudWatch, as forms and as JSON: the API's own error, nothing changed, no surprise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.aws.protocols import Request
from tests.aws.test_gateway_fuzz import Fuzzed, check, form, headers, members, texts

NAMES = st.sampled_from(["a", "high", "m1", "e1", "load", "app", "", "ü/x", "x" * 300])
NUMBERS = st.one_of(
    st.integers(-5, 100_000), st.floats(), st.sampled_from([0, 60, 300, 1e300, 2**63, 1_750_000_000, -1e12, 1e12])
)
EXPRESSIONS = st.text(alphabet="m1e+-*/()[],SUMIFAVG<>=&|. '\"", max_size=20)
STATISTICS = st.sampled_from(["Sum", "p90", "tm(1:2)", "TM(1%:2%)", "IQM", "PR(:1)", "p101", "x"])
STAT = st.fixed_dictionaries(
    {},
    optional={
        "Metric": st.fixed_dictionaries(
            {}, optional={"Namespace": NAMES, "MetricName": NAMES, "Dimensions": st.just([])}
        ),
        "Period": NUMBERS,
        "Stat": STATISTICS,
    },
)
QUERY = st.fixed_dictionaries(
    {"Id": st.sampled_from(["m1", "e1", "A", "m2"])},
    optional={"Expression": EXPRESSIONS, "MetricStat": STAT, "Label": texts, "ReturnData": st.booleans()},
)
FIELDS: dict[str, Any] = {
    "Namespace": NAMES,
    "MetricName": NAMES,
    "AlarmName": NAMES,
    "AlarmNames": st.lists(NAMES, max_size=3),
    "AlarmRule": st.one_of(st.sampled_from(["ALARM(high)", "TRUE", "NOT ALARM(a)", "(("]), texts),
    "AlarmActions": st.lists(st.sampled_from(["arn:aws:sns:us-east-1:000000000000:t", "x"]), max_size=2),
    "ActionsSuppressor": NAMES,
    "StateValue": st.sampled_from(["OK", "ALARM", "x"]),
    "StateReason": texts,
    "StateReasonData": texts,
    "MetricDataQueries": st.lists(QUERY, max_size=3),
    "Metrics": st.lists(QUERY, max_size=3),
    "MetricData": st.lists(
        st.fixed_dictionaries(
            {"MetricName": NAMES},
            optional={
                "Value": NUMBERS,
                "Values": st.lists(NUMBERS, max_size=2),
                "Counts": st.lists(NUMBERS, max_size=2),
                "Timestamp": NUMBERS,
                "StorageResolution": NUMBERS,
                "Dimensions": st.lists(st.fixed_dictionaries({"Name": NAMES, "Value": texts}), max_size=2),
            },
        ),
        max_size=2,
    ),
    "Statistic": STATISTICS,
    "ExtendedStatistic": STATISTICS,
    "Statistics": st.lists(STATISTICS, max_size=2),
    "ExtendedStatistics": st.lists(STATISTICS, max_size=2),
    "StartTime": NUMBERS,
    "EndTime": NUMBERS,
    "StartDate": NUMBERS,
    "Period": NUMBERS,
    "EvaluationPeriods": NUMBERS,
    "DatapointsToAlarm": NUMBERS,
    "Threshold": NUMBERS,
    "ComparisonOperator": st.sampled_from(["GreaterThanThreshold", "LessThanLowerThreshold", "x"]),
    "TreatMissingData": st.sampled_from(["missing", "x"]),
    "MaxDatapoints": NUMBERS,
    "MaxRecords": NUMBERS,
    "NextToken": texts,
    "DashboardName": NAMES,
    "DashboardBody": st.one_of(
        texts, st.sampled_from(['{"widgets": []}', '{"widgets": [{"type": "text", "x": 1e400}]}'])
    ),
    "DashboardNames": st.lists(NAMES, max_size=2),
    "ResourceARN": st.sampled_from(["arn:aws:cloudwatch:us-east-1:000000000000:alarm:high", "x", ""]),
    "Tags": st.lists(st.fixed_dictionaries({"Key": NAMES, "Value": texts}), max_size=2),
    "TagKeys": st.lists(NAMES, max_size=2),
    "LabelOptions": st.fixed_dictionaries({"Timezone": texts}),
}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    made = Fuzzed(tmp_path_factory.mktemp("keys"))
    yield made
    made.loop.run_until_complete(made.world.close())
    assert made.world.loop.faults == 0
    made.loop.close()


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_document(fuzzed: Fuzzed, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(fuzzed.operations["cloudwatch"]))
    wanted = [field for field in members("cloudwatch", name) if field in FIELDS]
    document = {field: data.draw(FIELDS[field]) for field in wanted if data.draw(st.integers(0, 5))}
    kind = {"x-amz-target": f"GraniteServiceVersion20100801.{name}", "content-type": "application/x-amz-json-1.0"}
    check(fuzzed, Request("POST", "/", "", headers("monitoring", **kind), json.dumps(document).encode()))


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_form(fuzzed: Fuzzed, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(fuzzed.operations["cloudwatch"]))
    fields = data.draw(st.dictionaries(st.sampled_from(members("cloudwatch", name)), texts, max_size=6))
    request = form("cloudwatch", {"Action": name, **fields})
    check(fuzzed, request)
