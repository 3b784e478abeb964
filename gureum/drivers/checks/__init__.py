"""Looks at health, from a node's network namespace."""
