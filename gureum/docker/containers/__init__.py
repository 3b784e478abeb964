"""Containers of the Engine API: one file per operation on them, with what `docker run` may ask for (`options`, `checks`).

What is stored of them stands in docker/kinds.py, what they are on the machine in docker/lowering.py, how they end in docker/lifecycle.py.
"""
