"""Telemetry: the stores behind ports/telemetry.py. store.py opens the one on disk; memory.py forgets with the process (tests, simulations).

disk_logs.py  disk_metrics.py                   the two signals, over what follows
commits.py ─► wal.py, frames.py                 group commit into a log of writes
hot_logs.py  hot_metrics.py  series_index.py    what is in no file yet, in memory
generations.py  archive.py  catalog.py          from a generation of the log to files; which files count
worker_client.py ── jobs.py ──► worker.py       the process with DuckDB:
    log_files.py  metric_files.py  log_parts.py  parquet.py  arrow.py          writes and reads files
    log_upkeep.py  metric_upkeep.py             retention, merging, roll-up
pages.py  places.py  buckets.py                 pure: pages of events and their places; buckets of what was measured
"""
