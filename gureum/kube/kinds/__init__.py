"""What can be stored: one table of kinds for discovery, paths, storage and columns (builtin.py), and the rules of those that have some."""
