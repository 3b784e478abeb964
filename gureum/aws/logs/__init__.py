"""CloudWatch Logs: groups, streams and events, filter patterns, metric filters, subscriptions, live tail and exports.

    PutLogEvents, consoles, flow logs ──► ingest.py ──► telemetry store
                                             ├────────► metric filters ──► metrics
                                             ├────────► subscriptions ───► another group
                                             └────────► live tails

    telemetry store ──► export_writing.py ──► objects of a bucket

What is stored of groups and streams are their settings; events are in the telemetry store. Queries (Insights) are not built yet.
"""
