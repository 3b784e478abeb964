"""Volumes of the Engine API, and what may be said of them and of mounts."""
