"""Those watches that have seen all there is: what comes is written to their connections in the moment of its commit, without a task each.

    commit ─► for each prefix that is followed and concerned ─► each watch's line, mostly the same bytes ─► its connection

A client that does not keep up, or whose line cannot be made, goes back to reading the store's history from where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from gureum.kube.requests import Sink
from gureum.store.contract import Event, Store

Tell = Callable[[list[Event]], bytes]
"""The lines that a watch has for events of its prefix; b"" for none."""


class Follower(msgspec.Struct, eq=False):
    """`form`: those of the same have the same lines, "" where no other may have them; `left`: gets the revision up to which everything
    was told."""

    prefix: str
    form: str
    tell: Tell
    sink: Sink
    left: asyncio.Future[int]


class Live:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: dict[str, set[Follower]] = {}
        self._unlisten: Callable[[], None] | None = None

    async def follow(self, prefix: str, form: str, tell: Tell, sink: Sink, until: float) -> int:
        """Tells of everything that comes from now on until that time of the loop, or until the client does not keep up. The revision reached.

        `form`: Follower."""
        loop = asyncio.get_running_loop()
        one = Follower(prefix, form, tell, sink, loop.create_future())
        if self._unlisten is None:
            self._unlisten = self._store.listen(self._on_events)
        self._followers.setdefault(prefix, set()).add(one)
        timer = loop.call_at(until, self._leave, one, None)
        try:
            return await one.left
        finally:
            timer.cancel()
            self._forget(one)

    def _on_events(self, events: list[Event]) -> None:
        for prefix, followers in tuple(self._followers.items()):
            concerned = [event for event in events if event.key.startswith(prefix)]
            if concerned:
                pieces: dict[str, bytes | None] = {}
                for one in tuple(followers):
                    piece = pieces.get(one.form) if one.form else None
                    if piece is None:
                        piece = pieces[one.form] = _piece(one, concerned)
                    if piece is None or (piece and not one.sink.write_piece(piece)):
                        self._leave(one, events[0].revision - 1)

    def _leave(self, one: Follower, revision: int | None) -> None:
        """Not followed any more from this moment; `revision` None: all there is was told."""
        self._forget(one)
        if not one.left.done():
            one.left.set_result(self._store.revision if revision is None else revision)

    def _forget(self, one: Follower) -> None:
        followers = self._followers.get(one.prefix)
        if followers is None:
            return
        followers.discard(one)
        if not followers:
            del self._followers[one.prefix]
            if not self._followers and self._unlisten is not None:
                self._unlisten()
                self._unlisten = None


def _piece(one: Follower, events: list[Event]) -> bytes | None:
    """A chunk with its frame; b"" where there is nothing to tell, None where it cannot be made."""
    try:
        lines = one.tell(events)
    except Exception:  # noqa: BLE001  the watch itself meets it again, reading on; others are not to suffer
        return None
    return b"%x\r\n%b\r\n" % (len(lines), lines) if lines else b""
