"""Drivers fill the ports with the real machine. Only the agent builds them."""
