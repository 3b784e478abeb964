"""Telemetry: the stores behind `ports/telemetry.py`. `store.py` opens the one on disk; `memory.py` forgets with the process (tests)."""
