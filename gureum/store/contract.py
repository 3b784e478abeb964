"""The store's contract: a versioned map with the semantics of etcd v3, in nine verbs.

One counter, the revision, numbers the commits of the whole store. An example, on an empty store:

    commit([Unchanged("vpc/a", 0)], [Put("vpc/a", b"1")])      -> 1    a: created 1, revision 1
    commit([], [Put("subnet/b", b"2"), Put("vpc/a", b"3")])    -> 2    a: created 1, revision 2; b: created 2
    commit([NoneNewer("subnet/", 1)], [Delete("vpc/a")])       -> Conflict: subnet/b is of revision 2
    commit([NoneNewer("subnet/", 2)], [Delete("vpc/a")])       -> 3
    commit([], [Put("subnet/b", b"2")])                        -> 3    nothing changed, so no revision was made

Invariants, kept by every implementation (tests/contract/test_store.py):
- A commit is atomic over its keys, and commits happen one after the other.
- Nothing is visible (get, range, watch, listen) before it is durable, and an acknowledged commit survives a loss of
  power.
- A revision is never given out twice, also across crashes; revisions have no gaps.
- Keys are sorted by code point, which is the byte order of UTF-8.
- All verbs belong to one event loop's thread. get and range answer from memory and never wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import msgspec

MAX_OPERATIONS = 4096
"""Checks and writes of one commit together. A launch of 200 instances with interfaces, addresses and volumes is one
commit; on etcd the server is started with --max-txn-ops of this size (its default is 128)."""
MAX_KEY_BYTES = 1024
MAX_COMMIT_BYTES = 1_572_864
"""Keys and values of one commit together (etcd: --max-request-bytes)."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A key's state. `created`: the revision that brought the key into being; `revision`: the one that last changed
    it."""

    key: str
    value: bytes
    created: int
    revision: int


class Unchanged(msgspec.Struct, frozen=True, gc=False):
    """The key must be of this revision now. 0: the key must not exist."""

    key: str
    revision: int


class NoneNewer(msgspec.Struct, frozen=True, gc=False):
    """No existing key under the prefix may be of a later revision. A key deleted since does not count (etcd: compare
    over a range)."""

    prefix: str
    revision: int


class Put(msgspec.Struct, frozen=True, gc=False):
    """Creates or replaces. Putting the value that is there changes nothing."""

    key: str
    value: bytes


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Deleting what is not there changes nothing."""

    key: str


Check = Unchanged | NoneNewer
Write = Put | Delete


class Event(msgspec.Struct, frozen=True, gc=False):
    """One key's change. `entry`: None when the key was deleted; `previous`: None when it was created."""

    revision: int
    key: str
    entry: Entry | None
    previous: Entry | None


class Conflict(Exception):
    """A check of the commit failed; nothing changed. `key` is the key in the way, `revision` its revision now (0: it is
    not there)."""

    def __init__(self, check: Check, key: str, revision: int) -> None:
        super().__init__(f"{check} failed: {key} is of revision {revision}")
        self.check = check
        self.key = key
        self.revision = revision


class Compacted(Exception):
    """The history asked for is gone. Read everything anew with range, then watch from the store's revision."""

    def __init__(self, asked: int, compacted: int) -> None:
        super().__init__(f"the history after revision {asked} is gone: compacted up to {compacted}")
        self.asked = asked
        self.compacted = compacted


class StoreFull(Exception):
    """The disk, or the store's own size limit, is full. The commit failed and changed nothing; later ones may
    succeed."""


class StoreBroken(Exception):
    """The file cannot be opened, or the machine failed to write it, or the store is closed. A failed commit is not
    visible and later ones may succeed; only if the machine dies before one does, it is left open whether the failed one
    is there afterwards."""


class Reader(Protocol):
    """What `watch` returns. `position`: every event up to this revision has been returned; current when a wait for more was cancelled."""

    @property
    def position(self) -> int: ...
    def __aiter__(self) -> AsyncIterator[list[Event]]: ...
    async def __anext__(self) -> list[Event]: ...


class Store(Protocol):
    """A versioned map: see the top of this file. Made by the `open` of an implementation."""

    @property
    def revision(self) -> int:
        """The latest visible revision; 0 for a store that never held anything."""

    @property
    def compacted(self) -> int:
        """Watches may start from this revision on."""

    def get(self, key: str) -> Entry | None: ...

    def range(self, prefix: str, *, after: str = "", limit: int = 0) -> list[Entry]:
        """Entries under the prefix, sorted by key. For paging: those after the key `after`, at most `limit` of them (0:
        all)."""

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        """Makes all writes if all checks hold. Returns the revision made, or the store's present one when the writes
        change nothing.

        ValueError: over a limit above, a key that is empty, holds NUL or is no Unicode, or a key written twice.
        Conflict. StoreFull. StoreBroken. A caller that is cancelled while it waits does not learn whether the commit
        happened.
        """

    def watch(self, prefix: str, from_revision: int) -> Reader:
        """Events of revisions after `from_revision`, in order, as lists of what there is; never part of a revision.
        Raises Compacted (also later, to a reader that falls behind the kept history: it holds no memory of its own);
        ends when the store is closed."""

    def listen(self, callback: Callable[[list[Event]], None]) -> Callable[[], None]:
        """Calls back with the events of each revision, in order, at the moment they become visible and before their
        commit returns. The callback must be quick and must not raise. Returns a function that ends it."""

    async def compact(self, revision: int) -> None:
        """Forgets the history up to and including the revision. Idempotent. ValueError: the revision is in the
        future."""

    async def close(self) -> None:
        """Finishes the commits that wait, ends watches and releases the file. Idempotent."""
