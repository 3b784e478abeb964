"""Requests that reach a machine, by the kernel's time of their packets. No program has to be asked, and none has to be awake in time."""

from __future__ import annotations

import socket
import struct
import time
from ctypes import addressof, create_string_buffer
from pathlib import Path
from typing import Self

from gureum.drivers.networks.namespaces import entered

_ETH_P_IP, _SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 0x0800, 26, 35
_FILTER = (
    # code, jump if true, jump if false, value: Ethernet's IPv4 and TCP, no later fragment, whose first bytes after both headers are "GET "
    (0x28, 0, 0, 12), (0x15, 0, 13, _ETH_P_IP),
    (0x30, 0, 0, 23), (0x15, 0, 11, socket.IPPROTO_TCP),
    (0x28, 0, 0, 20), (0x45, 9, 0, 0x1FFF),
    (0xB1, 0, 0, 14), (0x50, 0, 0, 26), (0x54, 0, 0, 0xF0), (0x74, 0, 0, 2), (0x0C, 0, 0, 0), (0x07, 0, 0, 0),
    (0x40, 0, 0, 14), (0x15, 0, 1, int.from_bytes(b"GET ", "big")),
    (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0),
)  # fmt: skip
_HEALTH_CHECK = b"ELB-HealthChecker"


class RequestsSeen:
    """GET requests that come to the machine of that network namespace from now on, but for health checks. A context manager. Times: Unix seconds."""

    def __init__(self, namespace: Path, limit_s: float) -> None:
        self._limit_s = limit_s
        with entered(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        program = create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in _FILTER))
        self._socket.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", len(_FILTER), addressof(program))
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind(("eth0", _ETH_P_IP))  # last, so that nothing comes unfiltered

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of: object) -> None:
        self._socket.close()

    def first(self) -> float:
        """TimeoutError when none comes in time."""
        at = self._next(self._limit_s)
        if at is None:
            raise TimeoutError(f"no request within {self._limit_s:.0f} s")
        return at

    def last(self, quiet_s: float) -> float | None:
        """The last one before none came for so long; None where none came at all."""
        last, ends = None, time.monotonic() + self._limit_s
        while (at := self._next(quiet_s)) is not None:
            last = at
            if time.monotonic() > ends:
                raise TimeoutError(f"requests still come after {self._limit_s:.0f} s")
        return last

    def _next(self, within_s: float) -> float | None:
        ends = time.monotonic() + within_s
        while (left := ends - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data, ancillary, _, _ = self._socket.recvmsg(2048, 64)
            except TimeoutError:
                return None
            if _HEALTH_CHECK not in data:
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                return float(seconds) + float(nanoseconds) / 1e9
        return None
