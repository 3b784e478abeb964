"""Images of the Engine API, and the registries they come from and go to.

registry ── pull.py ──┐
archive ─── load.py ──┼─► blobs.py: files as they came ─► take.py: unpacked by the agent, one commit ─► docker.Image
container ─ commit ───┘
"""
