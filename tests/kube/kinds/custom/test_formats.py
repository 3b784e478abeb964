"""Formats that schemas of custom resources ask for."""

from __future__ import annotations

import pytest

from gureum.kube.kinds.custom.formats import fits_format


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date-time", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456789+09:00"], ["no", "2026-13-01T00:00:00Z", "2026-01-01"]),
        ("date", ["2026-01-31"], ["2026-02-30", "20260101"]),
        ("duration", ["1h", "1h30m", "1.5s", "0", "3 days"], ["", "1", "soon"]),
        ("byte", ["", "aGk="], ["a", "*"]),
        ("uuid", ["a3a2a1a0-1234-4234-8234-123456789abc"], ["a3"]),
        ("ipv4", ["10.0.0.1"], ["10.0.0.256", "::1"]),
        ("ipv6", ["::1"], ["10.0.0.1", "g::"]),
        ("cidr", ["10.0.0.1/8", "fd00::/8"], ["10.0.0.1", "10.0.0.0/33"]),
        ("mac", ["01:23:45:67:89:ab"], ["01:23"]),
        ("hostname", ["a.example.com"], ["-a", "a b"]),
        ("email", ["a@b.example"], ["a"]),
        ("of-somebody", ["anything"], []),
    ],
)  # fmt: skip
def test_formats(form, good, bad):
    assert [fits_format(one, form) for one in good] == [True] * len(good)
    assert [fits_format(one, form) for one in bad] == [False] * len(bad)
