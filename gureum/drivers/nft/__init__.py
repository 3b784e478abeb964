"""Firewalls, filled by nftables: one table per network, changed by differences."""
