"""Evaluating an expression's tree. Functions that need the tree itself (METRICS, SORT's and FILL's keywords) are told apart here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gureum.aws.cloudwatch.metric_math.fill import fill
from gureum.aws.cloudwatch.metric_math.functions import FUNCTIONS, if_, sort
from gureum.aws.cloudwatch.metric_math.parser import (
    Array,
    Chain,
    Function,
    MathError,
    Name,
    Negate,
    Node,
    NotBuilt,
    Number,
    Text,
)
from gureum.aws.cloudwatch.metric_math.values import TimeSeries, Value, combine

NOT_BUILT = frozenset({"ANOMALY_DETECTION_BAND", "DB_PERF_INSIGHTS", "INSIGHT_RULE_METRIC", "LAMBDA", "SEARCH"})
KEYWORDS = frozenset({"ASC", "DESC", "REPEAT", "LINEAR", "AVG", "MIN", "MAX", "SUM"})


MOST_SERIES = 500
"""In an array. AWS: so many queries a request has at most."""
MOST_POINTS = 5_000_000
"""Read and made for all expressions of a request: about a second of work."""


class Budget:
    """What one request's expressions may still cost, however they multiply what they are given. MathError when it is spent."""

    def __init__(self, points: int = MOST_POINTS) -> None:
        self._left = points

    def spend(self, value: Value) -> Value:
        series = value if isinstance(value, list) else [value]
        self._left -= sum(1 + len(one.points) if isinstance(one, TimeSeries) else 1 for one in series)
        if self._left < 0:
            raise MathError(
                "The expressions compute too many data points. Use a longer period or a shorter time range."
            )
        return value


class Context(NamedTuple):
    """`find(id)`: the value of another query of the request; MathError when there is none. `metrics`: all metrics of the request by id.
    [start, end) and `period_ms`: the grid of series that are made of nothing (TIME_SERIES, FILL …). `budget`: the request's."""

    find: Callable[[str], Value]
    metrics: dict[str, TimeSeries]
    start_ms: int
    end_ms: int
    period_ms: int
    budget: Budget

    def grid(self, period_ms: int) -> range:
        return range(self.start_ms, self.end_ms, period_ms)


def names_in(node: Node) -> Iterator[str]:
    """Ids that the expression refers to."""
    if isinstance(node, Name) and node.value not in KEYWORDS:
        yield node.value
    for inner in _inner(node):
        yield from names_in(inner)


def functions_in(node: Node) -> Iterator[str]:
    if isinstance(node, Function):
        yield node.name
    for inner in _inner(node):
        yield from functions_in(inner)


def _inner(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Negate):
        return (node.inner,)
    if isinstance(node, Chain):
        return (node.first, *(operand for _, operand in node.rest))
    if isinstance(node, Array):
        return node.items
    return node.arguments if isinstance(node, Function) else ()


def evaluate(node: Node, context: Context) -> Value:
    """MathError for what cannot be computed; NotBuilt for what gureum does not build."""
    return context.budget.spend(_evaluated(node, context))


def _evaluated(node: Node, context: Context) -> Value:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Name):
        return context.find(node.value)
    if isinstance(node, Negate):
        return combine("*", -1.0, evaluate(node.inner, context))
    if isinstance(node, Chain):
        value = evaluate(node.first, context)
        for operator, operand in node.rest:
            value = context.budget.spend(combine(operator, value, evaluate(operand, context)))
        return value
    if isinstance(node, Array):
        return _array(node, context)
    if isinstance(node, Text):
        raise MathError(f"A text ('{node.value[:50]}') is no value.")
    return _call(node, context)


def _array(node: Array, context: Context) -> list[TimeSeries]:
    """Arrays in an array are joined: [METRICS("4xx"), METRICS("5xx")]."""
    found: list[TimeSeries] = []
    for item in node.items:
        value = evaluate(item, context)
        if isinstance(value, float):
            raise MathError("An array holds time series, not numbers.")
        found.extend(value if isinstance(value, list) else [value])
        if len(found) > MOST_SERIES:
            raise MathError(f"An array holds {MOST_SERIES} time series at most.")
    return found


def _call(node: Function, context: Context) -> Value:
    name, arguments = node.name, node.arguments
    if name in NOT_BUILT:
        raise NotBuilt(name)
    if name == "METRICS":
        return _metrics(arguments, context)
    if name == "SORT":
        _count(node, 3, 4)
        limit = evaluate(arguments[3], context) if len(arguments) == 4 else None
        return sort(evaluate(arguments[0], context), _keyword(arguments[1]), _keyword(arguments[2]), limit)
    if name == "FILL":
        _count(node, 2, 2)
        keyword = _keyword(arguments[1])
        filler = keyword if keyword in ("REPEAT", "LINEAR") else evaluate(arguments[1], context)
        return fill(evaluate(arguments[0], context), filler, context.grid)
    if name == "IF":
        _count(node, 2, 3)
        return if_(*(evaluate(argument, context) for argument in arguments), period_ms=context.period_ms)
    function = FUNCTIONS.get(name)
    if function is None:
        raise MathError(f"Unknown function '{name}'.")
    _count(node, *function.arguments)
    return function.apply([evaluate(argument, context) for argument in arguments], context.grid, context.period_ms)


def _metrics(arguments: tuple[Node, ...], context: Context) -> list[TimeSeries]:
    if not arguments:
        return list(context.metrics.values())
    if len(arguments) > 1 or not isinstance(arguments[0], Text):
        raise MathError("METRICS takes nothing or a text.")
    return [series for id_, series in context.metrics.items() if arguments[0].value in id_]


def _keyword(node: Node) -> str:
    return node.value if isinstance(node, Name) else ""


def _count(node: Function, least: int, most: int) -> None:
    if not least <= len(node.arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise MathError(f"{node.name} takes {wanted} arguments, not {len(node.arguments)}.")
