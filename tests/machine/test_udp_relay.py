"""Published UDP ports."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gureum.drivers.networks import udp_relay

pytestmark = pytest.mark.machine


def _udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(10.0)
    sock.bind(("127.0.0.1", 0))
    return sock


def test_datagrams_go_in_and_answers_find_back_to_each_client() -> None:
    outside, server = _udp(), _udp()
    place, port = outside.getsockname(), server.getsockname()[1]
    command = [sys.executable, "-IS", udp_relay.__file__, "127.0.0.1", f"{outside.fileno()}:{port}"]
    clients = [_udp(), _udp()]
    with subprocess.Popen(command, pass_fds=[outside.fileno()]) as relay:
        outside.close()
        try:
            for index, client in enumerate(clients):
                client.sendto(b"ask %d" % index, place)
            for _ in clients:
                data, sender = server.recvfrom(100)
                server.sendto(b"re: " + data, sender)
            for index, client in enumerate(clients):
                assert client.recv(100) == b"re: ask %d" % index
            status = Path(f"/proc/{relay.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in status
            assert "Uid:\t65534\t65534\t65534" in status
        finally:
            relay.kill()
            for sock in (server, *clients):
                sock.close()
