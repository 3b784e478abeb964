"""Proxies, filled by HAProxy: configuration, process, changes while it runs, logs, counters."""
