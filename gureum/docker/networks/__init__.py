"""Networks of the Engine API, the addresses and ports that containers get in them, and links between containers."""
