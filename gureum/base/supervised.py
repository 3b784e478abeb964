"""What a process says to the supervisor that started it, and how it notices that the supervisor is gone.

The supervisor passes two pipes by number in the environment: `GUREUM_READY_FD` takes lines (`progress TEXT`, `ready`,
`failed TEXT`), `GUREUM_LIFE_FD` ends when the supervisor dies, however it dies. A process that nobody supervises says
nothing and is never orphaned.
"""

from __future__ import annotations

import asyncio
import os
import signal


class Supervised:
    """The child's end. Build it once, early: it takes the numbers out of the environment, so that no grandchild sees them."""

    def __init__(self) -> None:
        self._ready = _take("GUREUM_READY_FD")
        self._life = _take("GUREUM_LIFE_FD")

    def progress(self, text: str) -> None:
        """Shown to the user who waits in `gureum up`; each call grants the start another minute."""
        self._say(f"progress {text}")

    def ready(self) -> None:
        """The process serves from now on. Further words are not heard."""
        self._say("ready")
        self._hang_up()

    def failed(self, why: str) -> None:
        """The start cannot succeed; `why` is one sentence for the user. Exit after it."""
        self._say(f"failed {why}")
        self._hang_up()

    async def orphaned(self) -> None:
        """Returns when the supervisor is gone: stop serving and exit, leave the machine as it is."""
        gone = asyncio.Event()
        if self._life < 0:
            await gone.wait()
            return
        loop = asyncio.get_running_loop()
        # Nobody ever writes into the pipe: readable means that its other end is closed.
        loop.add_reader(self._life, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._life)

    def _say(self, line: str) -> None:
        if self._ready < 0:
            return
        try:
            os.write(self._ready, (" ".join(line.split()) + "\n").encode()[:4000])
        except BrokenPipeError:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1


async def until_stopped(supervised: Supervised) -> None:
    """Returns when a signal tells this process to stop (SIGTERM, SIGINT), or when its supervisor is gone."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    waits = [loop.create_task(stop.wait()), loop.create_task(supervised.orphaned())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()


def _take(name: str) -> int:
    """The descriptor that the variable names, no longer inherited by programs we start; -1 when there is none."""
    text = os.environ.pop(name, "")
    if not text:
        return -1
    os.set_inheritable(int(text), False)
    return int(text)
