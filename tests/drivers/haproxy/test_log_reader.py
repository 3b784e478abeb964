"""Lines are read in batches, and what waits can be had at once."""

from __future__ import annotations

import asyncio
import socket

from gureum.drivers.haproxy.log_reader import LogReader


def test_what_waits_is_drained_though_it_is_left_to_gather() -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        taken: list[list[bytes]] = []
        reader = LogReader(asyncio.get_running_loop(), ours, taken.append)
        theirs.send(b"one")
        while not taken:
            await asyncio.sleep(0)
        theirs.send(b"two")
        theirs.send(b"three")
        reader.drain()
        assert taken == [[b"one"], [b"two", b"three"]]
        reader.drain()
        assert len(taken) == 2, "nothing waits any more"
        reader.close()
        theirs.close()

    asyncio.run(story())
