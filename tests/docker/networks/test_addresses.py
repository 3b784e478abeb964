"""Host ports that are found for those who name none."""

from __future__ import annotations

import socket
from typing import cast

from gureum.core.world import World
from gureum.docker.networks.addresses import FIRST_PORT, LAST_PORT, FreePorts


def test_nobody_is_given_what_another_has_but_not_bound_yet() -> None:
    free = FreePorts(cast(World, None))
    found = [free.find("127.0.0.1", "tcp") for _ in range(50)]
    assert len(set(found)) == 50
    assert all(FIRST_PORT <= port <= LAST_PORT for port in found)


def test_the_search_begins_again_behind_the_last_and_passes_what_is_bound_over() -> None:
    free = FreePorts(cast(World, None))
    free._next = LAST_PORT - FIRST_PORT
    free.find("127.0.0.1", "udp")
    assert free._next < LAST_PORT - FIRST_PORT
    with socket.socket() as sock:
        port = free.find("127.0.0.1", "tcp")
        sock.bind(("127.0.0.1", port))
        free._next = port - FIRST_PORT
        assert free.find("127.0.0.1", "tcp") != port
