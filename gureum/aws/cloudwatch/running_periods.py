"""Whether the value of a period that has not ended may be judged already (`alarm_evaluation_s`). Pure.

no sum in it               an average, a percentile, a maximum: it is what it is now
sums that only grow        past the threshold in the direction of growth: the rest of the period cannot undo it
trimmed counts and sums    they only grow if what is trimmed away stays away: TC(0:5), tc90, TS(10%:), not ts90
sums in any other form     a ratio, a difference, a rate: it waits for the period's end
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from gureum.aws.cloudwatch.metric_math import names_in, parse
from gureum.aws.cloudwatch.metric_math.evaluate import functions_in
from gureum.aws.cloudwatch.metric_math.parser import Array, Chain, Function, Name, Node, Number
from gureum.aws.cloudwatch.queries import Query
from gureum.aws.cloudwatch.statistics import parse_statistic

Course = Literal["settled", "growing", "open"]
SUMMED = ("Sum", "SampleCount")
GROWING = frozenset({"SUM", "MAX", "MIN", "AVG", "CEIL", "FLOOR", "RUNNING_SUM", "FILL", "METRICS"})
"""Functions whose value grows when a value in them does."""


def course_of(watched: str, queries: Mapping[str, Query]) -> Course:
    """Of the value of the query `watched` within its period."""
    query = queries[watched]
    if not query.expression:
        return _course_of_statistic(query.stat)
    node = parse(query.expression)
    used = _used(node, queries)
    if all(course_of(id_, queries) == "settled" for id_ in used):
        return "settled"
    return "growing" if _grows(node, queries) else "open"


def _course_of_statistic(name: str) -> Course:
    """A trimmed sum between ranks falls when a small value comes; a trimmed count does between two ranks that both move. Values are positive."""
    statistic = parse_statistic(name)
    what = statistic.extended if statistic is not None else None
    if what is None or what.family not in ("tc", "ts"):
        return "growing" if name in SUMMED else "settled"
    grows = not what.percent or what.high is None or (what.family == "tc" and what.low is None)
    return "growing" if grows else "open"


def _used(node: Node, queries: Mapping[str, Query]) -> set[str]:
    metrics = {id_ for id_, one in queries.items() if not one.expression} if "METRICS" in functions_in(node) else set()
    return metrics | set(names_in(node))


def _grows(node: Node, queries: Mapping[str, Query]) -> bool:
    """Made of growing sums and positive numbers, by what keeps their order."""
    if isinstance(node, Number):
        return True
    if isinstance(node, Name):
        return course_of(node.value, queries) == "growing"
    if isinstance(node, Array):
        return all(_grows(item, queries) for item in node.items)
    if isinstance(node, Chain):
        return _grows(node.first, queries) and all(
            (operator in ("+", "*") and _grows(operand, queries)) or (operator in "/-" and isinstance(operand, Number))
            for operator, operand in node.rest
        )
    if isinstance(node, Function) and node.name in GROWING:
        if node.name == "METRICS":
            return all(_grows(Name(id_), queries) for id_ in _used(node, queries))
        if node.name == "FILL":
            return _grows(node.arguments[0], queries) and isinstance(node.arguments[1], Number)
        return all(_grows(argument, queries) for argument in node.arguments)
    return False
