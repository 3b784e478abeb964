"""The resolver of all networks."""
