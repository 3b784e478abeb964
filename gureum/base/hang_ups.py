"""When the other side of a connection has ended it: also while what it sent waits unread, which hides its end from whoever reads."""

from __future__ import annotations

import asyncio
import select


async def hung_up(fd: int) -> None:
    """Returns when the other side of the socket has ended what it says, or is lost. Cancel it before the socket is closed here.

    epoll(7): EPOLLRDHUP is told at once, whatever there is to read; an event loop only asks for what can be read."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    with select.epoll() as watch:
        watch.register(fd, select.EPOLLRDHUP)
        loop.add_reader(watch.fileno(), ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(watch.fileno())
