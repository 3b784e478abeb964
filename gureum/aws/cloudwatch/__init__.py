"""Amazon CloudWatch's metrics and alarms: an API over the telemetry store (ports/telemetry.py); nothing of a metric is kept here.

PutMetricData ─► put_metric_data ─► store ─► series (windows, statistics) ─► get_statistics, metric_data ─► metric_math
                                      │
                                      └────► alarm_evaluator ─► alarm status ─► alarm_reconcile: history, event, actions, composites
"""
