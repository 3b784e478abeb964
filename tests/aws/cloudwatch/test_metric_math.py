"""Metric math: the vectors of the documents ("Using math expressions with CloudWatch metrics"), and what is refused."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.cloudwatch.metric_math import Budget, Context, MathError, NotBuilt, TimeSeries, evaluate, parse
from gureum.aws.cloudwatch.metric_math.evaluate import NOT_BUILT
from gureum.aws.cloudwatch.metric_math.functions import FUNCTIONS

START, PERIOD = 1_750_000_020_000, 60_000


def series(text: str) -> TimeSeries:
    """ "30 - 0": a value per minute, "-" for none."""
    points = {START + PERIOD * n: float(word) for n, word in enumerate(text.split()) if word != "-"}
    return TimeSeries(points, PERIOD, metric=True)


def run(expression: str, length: int = 5, **metrics: str) -> Any:
    found = {id_: series(text) for id_, text in metrics.items()}
    context = Context(found.__getitem__, found, START, START + length * PERIOD, PERIOD, Budget())
    return evaluate(parse(expression), context)


def shown(value: Any, length: int = 5) -> str:
    if isinstance(value, list):
        return "; ".join(shown(one, length) for one in value)
    if isinstance(value, float):
        return f"{value:g}"
    times = range(START, START + length * PERIOD, PERIOD)
    return " ".join(f"{value.points[time]:g}" if time in value.points else "-" for time in times)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("metric1 < metric2", "0 0 1 0"), ("metric1 >= 30", "1 0 0 0"), ("metric1 > 15 AND metric2 > 15", "1 0 0 0")],
)
def test_comparison_and_logical_operators(expression: str, expected: str) -> None:
    assert shown(run(expression, 4, metric1="30 20 0 0", metric2="20 - 20 -"), 4) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("IF(metric1, metric2, metric3)", "30 0 20 - -"),
        ("IF(metric1, 5, metric3)", "5 5 20 - -"),
        ("IF(metric1, metric2, 5)", "30 0 5 5 -"),
        ("IF(metric1, metric2)", "30 0 - - -"),
        ("IF(metric1, 7)", "7 7 - - -"),
        ("IF(1, metric2, metric3)", "30 - 0 0 30"),
        ("IF(0, metric2, metric3)", "0 0 20 - 20"),
        ("IF(0, metric2)", "- - - - -"),
        ("IF(metric2 > 10, 1, 2)", "1 - 2 2 1"),
    ],
)
def test_the_if_tables(expression: str, expected: str) -> None:
    found = run(expression, metric1="1 1 0 0 -", metric2="30 - 0 0 30", metric3="0 0 20 - 20")
    assert shown(found) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m1 + m2", "11 2 33 -4 5"),
        ("m1 - m2", "-9 2 -27 -4 -5"),
        ("m1 / m2", "0.1 - 0.1 - 0"),
        ("m1 * 2 + 1", "3 5 7 -7 -"),
        ("-m1", "-1 -2 -3 4 -"),
        ("2 ^ m1", "2 4 8 0.0625 -"),
        ("-2 ^ 2 + m1", "-3 -2 -1 -8 -"),
        ("100/[m1,m2]", "100 50 33.3333 -25 -; 10 - 3.33333 - 20"),
        ("[m1,m2]/m2", "0.1 - 0.1 - 0; 1 - 1 - 1"),
        ("ABS(m1)", "1 2 3 4 -"),
        ("SUM(m1) + m1", "3 4 5 -2 -"),
        ("SUM([m1,m2])", "11 2 33 -4 5"),
        ("AVG([m1,m2])", "5.5 1 16.5 -2 2.5"),
        ("MAX([m1,m2])", "10 2 30 -4 5"),
        ("MIN(METRICS())", "1 2 3 -4 5"),
        ("DATAPOINT_COUNT(METRICS())", "2 1 2 1 1"),
        ("m1 - AVG(m1)", "0.5 1.5 2.5 -4.5 -"),
        ("m1 * METRIC_COUNT(METRICS())", "2 4 6 -8 -"),
        ('METRICS("2")', "10 - 30 - 5"),
        ("DIFF(m1)", "- 1 1 -7 -"),
        ("DIFF(m2)", "- - 20 - -25"),
        ("DIFF_TIME(m2)", "- - 120 - 120"),
        ("RATE(m2) * 120", "- - 20 - -25"),
        ("RUNNING_SUM(m1)", "1 3 6 2 -"),
        ("m1 / PERIOD(m1) * 60", "1 2 3 -4 -"),
        ("LOG10(m2 * 10)", "2 - 2.47712 - 1.69897"),
        ("LOG(m1) * 0", "0 0 0 - -"),
        ("CEIL(m1 / 2)", "1 1 2 -2 -"),
        ("FLOOR(m1 / 2)", "0 1 1 -2 -"),
        ("FILL(m2, 0)", "10 0 30 0 5"),
        ("FILL(m2, REPEAT)", "10 10 30 30 5"),
        ("FILL(m2, LINEAR)", "10 20 30 17.5 5"),
        ("FILL(m2, m1)", "10 2 30 -4 5"),
        ("FILL(m2, MIN(m2))", "10 5 30 5 5"),
        ("TIME_SERIES(MAX(m1))", "3 3 3 3 3"),
        ("STDDEV([m1,m1])", "0 0 0 0 -"),
        ("FIRST(SORT(METRICS(), SUM, DESC))", "10 - 30 - 5"),
        ("LAST(METRICS())", "10 - 30 - 5"),
        ("SLICE(SORT(METRICS(), AVG, ASC), 1)", "10 - 30 - 5"),
        ("SLICE(METRICS(), 0, 1)", "1 2 3 -4 -"),
        ("SORT(METRICS(), MAX, DESC, 1)", "10 - 30 - 5"),
        ("MINUTE(m1) - MINUTE(m1)", "0 0 0 0 0"),
        ("EPOCH(m1) - 1750000020", "0 60 120 180 240"),
        ("m1 == 2 || m1 > 2", "0 1 1 0 -"),
        ("m1 >= 2 && m1 <= 2 OR m1 == 1", "1 1 0 0 -"),
    ],
)
def test_functions_and_operators(expression: str, expected: str) -> None:
    assert shown(run(expression, m1="1 2 3 -4 -", m2="10 - 30 - 5")) == expected


def test_calendar_of_a_known_time() -> None:
    """2025-06-15 15:07 UTC is a Sunday."""
    for name, value in (("MINUTE", 7), ("HOUR", 15), ("DAY", 7), ("DATE", 15), ("MONTH", 6), ("YEAR", 2025)):
        assert shown(run(f"{name}(m1)", 1, m1="-"), 1) == f"{value:g}"


def test_remove_empty_and_empty_folds() -> None:
    assert shown(run("REMOVE_EMPTY([m1,m2])", m1="- - - - -", m2="1 - - - -")) == "1 - - - -"
    assert shown(run("m2 + SUM(m1)", m1="- - - - -", m2="1 - - - -")) == "1 - - - -"
    assert shown(run("m2 + AVG(m1)", m1="- - - - -", m2="1 - - - -")) == "- - - - -"


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "m1 +",
        "(m1",
        "m1)",
        "[m1",
        "m1 m1",
        "sum(m1)",
        "NOSUCH(m1)",
        "m1 $ 2",
        "SUM(1)",
        "SUM()",
        "SUM(m1, m1)",
        "PERIOD(m1 + 1)",
        "PERIOD(3)",
        "[1, 2]",
        "'text'",
        "[m1,m2] + [m1]",
        "IF([m1], 1, 2)",
        "FILL(1, 2)",
        "FILL(m1, [m1])",
        "SLICE(METRICS(), 0.5)",
        "SLICE(METRICS(), -1)",
        "SORT(METRICS(), SUM)",
        "SORT(METRICS(), STDDEV, ASC)",
        "FIRST(m1)",
        "SERVICE_QUOTA(m1)",
        "SERVICE_QUOTA(METRICS())",
        "SERVICE_QUOTA(5)",
        "TIME_SERIES(m1)",
        "METRICS(1)",
        "HOUR(METRICS())",
        "(" * 200 + "m1" + ")" * 200,
        "-" * 300 + "m1",
    ],
)
def test_what_cannot_be_is_refused(expression: str) -> None:
    with pytest.raises(MathError):
        run(expression, m1="1 2", m2="3 4")


DOCUMENTED = {
    "ABS": ("ABS(m1)", "1 2 3 4 -"),
    "ANOMALY_DETECTION_BAND": ("ANOMALY_DETECTION_BAND(m1)", NotBuilt),
    "AVG": ("AVG([m1,m2])", "5.5 1 16.5 -2 2.5"),
    "CEIL": ("CEIL(m1 / 2)", "1 1 2 -2 -"),
    "DATAPOINT_COUNT": ("DATAPOINT_COUNT([m1,m2])", "2 1 2 1 1"),
    "DATE": ("DATE(m1)", "15 15 15 15 15"),
    "DAY": ("DAY(m1)", "7 7 7 7 7"),
    "DB_PERF_INSIGHTS": ("DB_PERF_INSIGHTS('RDS', 'db-A', 'os.cpuUtilization.user.avg')", NotBuilt),
    "DIFF": ("DIFF(m2)", "- - 20 - -25"),
    "DIFF_TIME": ("DIFF_TIME(m2)", "- - 120 - 120"),
    "EPOCH": ("EPOCH(m1) - EPOCH(m2)", "0 0 0 0 0"),
    "FILL": ("FILL(m2, REPEAT)", "10 10 30 30 5"),
    "FIRST": ("FIRST(METRICS())", "1 2 3 -4 -"),
    "FLOOR": ("FLOOR(m1 / 2)", "0 1 1 -2 -"),
    "HOUR": ("HOUR(m1)", "15 15 15 15 15"),
    "IF": ("IF(m1 > 1, m2, 0)", "0 0 30 0 -"),
    "INSIGHT_RULE_METRIC": ("INSIGHT_RULE_METRIC('rule', 'UniqueContributors')", NotBuilt),
    "LAMBDA": ("LAMBDA('connector', 'argument')", NotBuilt),
    "LAST": ("LAST(METRICS())", "10 - 30 - 5"),
    "LOG": ("LOG(m1 - m1 + 1)", "0 0 0 0 -"),
    "LOG10": ("LOG10(m1 * m1 * m1 * 0 + 100)", "2 2 2 2 -"),
    "MAX": ("MAX([m1,m2])", "10 2 30 -4 5"),
    "METRICS": ("METRICS('2')", "10 - 30 - 5"),
    "METRIC_COUNT": ("METRIC_COUNT(METRICS())", "2"),
    "MIN": ("MIN([m1,m2])", "1 2 3 -4 5"),
    "MINUTE": ("MINUTE(m1)", "7 8 9 10 11"),
    "MONTH": ("MONTH(m1)", "6 6 6 6 6"),
    "PERIOD": ("PERIOD(m1)", "60"),
    "RATE": ("RATE(m2) * 60", "- - 10 - -12.5"),
    "REMOVE_EMPTY": ("REMOVE_EMPTY([m1, m1 / 0])", "1 2 3 -4 -"),
    "RUNNING_SUM": ("RUNNING_SUM(m2)", "10 - 40 - 45"),
    "SEARCH": ("SEARCH('{a} b', 'Sum')", NotBuilt),
    "SERVICE_QUOTA": ("SERVICE_QUOTA(u1)", "5 - 5 - -"),
    "SLICE": ("SLICE(METRICS(), 1, 2)", "10 - 30 - 5"),
    "SORT": ("FIRST(SORT(METRICS(), MIN, DESC))", "10 - 30 - 5"),
    "STDDEV": ("STDDEV([m1,m1 + 2])", "1 1 1 1 -"),
    "SUM": ("SUM([m1,m2])", "11 2 33 -4 5"),
    "TIME_SERIES": ("TIME_SERIES(7)", "7 7 7 7 7"),
    "YEAR": ("YEAR(m1)", "2025 2025 2025 2025 2025"),
}
"""All functions of the table "Functions supported for metric math", with the services' that gureum does not have."""


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_every_documented_function_is_computed_or_refused_by_its_name(name: str) -> None:
    expression, expected = DOCUMENTED[name]
    usage = TimeSeries({START: 3.0, START + 2 * PERIOD: 4.0}, PERIOD, metric=True, usage=True, quota=5.0)
    found = {"m1": series("1 2 3 -4 -"), "m2": series("10 - 30 - 5")}
    context = Context((found | {"u1": usage}).__getitem__, found, START, START + 5 * PERIOD, PERIOD, Budget())
    if isinstance(expected, str):
        assert shown(evaluate(parse(expression), context)) == expected
    else:
        with pytest.raises(NotBuilt) as caught:
            evaluate(parse(expression), context)
        assert caught.value.text == name


def test_no_function_is_there_that_is_not_documented() -> None:
    assert FUNCTIONS.keys() | NOT_BUILT | {"IF", "FILL", "SORT", "METRICS"} == DOCUMENTED.keys()


def test_the_quota_of_a_usage_without_a_limit_has_no_points() -> None:
    usage = TimeSeries({START: 3.0}, PERIOD, metric=True, usage=True)
    context = Context({"u1": usage}.__getitem__, {}, START, START + PERIOD, PERIOD, Budget())
    assert shown(evaluate(parse("SERVICE_QUOTA(u1)"), context), 1) == "-"


def test_a_sum_of_five_hundred_metrics_is_not_too_deep() -> None:
    assert shown(run("+".join(["m1"] * 500), 1, m1="1"), 1) == "500"


def test_what_overflows_is_dropped() -> None:
    assert shown(run("m1 ^ 500 * m1 ^ 500", 2, m1="2 1e300"), 2) == f"{2.0**1000:g} -"
    assert shown(run("SUM([m1 * 1e300, m1 * 1e300])", 1, m1="1e8"), 1) == "-"


@given(st.text(alphabet="m12+-*/^()[],<>=!&| ASUMIFETRICL.'\"", max_size=30))
def test_any_text_is_computed_or_refused(text: str) -> None:
    with contextlib.suppress(MathError, KeyError):  # an id that is not there is a KeyError of this test's own
        shown(run(text, m1="1 2 -", m2="0 - 5"))


def test_what_multiplies_what_it_is_given_is_given_up() -> None:
    with pytest.raises(MathError, match="An array holds 500 time series at most"):
        run("[" + ",".join(["[" + ",".join(["a"] * 30) + "]"] * 17) + "]", a="1 2")
    found = {"a": series("1 2 3 4")}
    context = Context(found.__getitem__, found, START, START + 4 * PERIOD, PERIOD, Budget(100))
    assert shown(evaluate(parse("a + a + a"), context), 4) == "3 6 9 12"
    with pytest.raises(MathError, match="too many data points"):
        evaluate(parse("+".join(["SUM([a, a])"] * 10)), context)
