"""CloudWatch Logs: groups, streams and events, filter patterns, metric filters, subscriptions and live tail.

    PutLogEvents, consoles, flow logs ──► ingest.py ──► telemetry store
                                             ├────────► metric filters ──► metrics
                                             ├────────► subscriptions ───► another group
                                             └────────► live tails

What is stored of groups and streams are their settings; events are in the telemetry store. Queries (Insights) are not built yet.
"""
