"""Ports filled without a machine: states move, nothing runs."""
