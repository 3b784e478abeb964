"""Metric math: expressions over metrics, as GetMetricData and alarms know them.

AWS: CloudWatch User Guide, "Using math expressions with CloudWatch metrics".

    text ─► parser (syntax tree) ─► evaluate (operators, functions over values) ─► a time series, or an array of them

Pure: it knows neither store nor clock. What it does not build (SEARCH, ANOMALY_DETECTION_BAND …) raises `NotBuilt`, never a made-up value.
"""

from gureum.aws.cloudwatch.metric_math.evaluate import Budget, Context, evaluate, names_in
from gureum.aws.cloudwatch.metric_math.parser import MathError, NotBuilt, parse
from gureum.aws.cloudwatch.metric_math.values import TimeSeries

__all__ = ["Budget", "Context", "MathError", "NotBuilt", "TimeSeries", "evaluate", "names_in", "parse"]
