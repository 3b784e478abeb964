"""Telemetry: the stores behind `ports/telemetry.py`. `memory.py` forgets with the process (simulations, tests)."""
