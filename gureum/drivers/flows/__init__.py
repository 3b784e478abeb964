"""Flows as the kernel tracks them."""
