"""IP addresses that somebody wrote."""

from __future__ import annotations

from ipaddress import ip_address


def is_ip(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
