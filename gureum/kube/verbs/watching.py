"""Watches: the store's events as the client wants to see them.

A watch is a position in the store's history, no queue: a slow client costs nothing, and one that falls out of the history hears 410. An event is
encoded once for all watchers that see it in the same form. What comes into or goes out of a selection is told as ADDED or DELETED.
Who has seen all there is, is told what comes as it comes (live.py).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import msgspec

from gureum.kube.errors import StatusError, expired, too_large_revision
from gureum.kube.forms import Forms
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Objects, with_revision
from gureum.kube.requests import JSON, Request, Response, Sink, Target, Wish, wish_of
from gureum.kube.selectors import Filter
from gureum.kube.verbs.live import Live
from gureum.kube.verbs.reading import Reading, invalid_options, revision_of
from gureum.store.contract import Compacted, Event

BOOKMARK_S = 60.0
SHORTEST_S = 1800.0
LIMIT_ENCODED = 4096
INITIAL_END = "k8s.io/initial-events-end"


class Watching:
    def __init__(self, objects: Objects, forms: Forms, reading: Reading) -> None:
        self._objects = objects
        self._forms = forms
        self._reading = reading
        self._encoded: dict[tuple[int, str, str, str], bytes] = {}
        self.live = Live(objects.store)
        self.open = 0

    def watch(self, request: Request, target: Target) -> Response:
        """StatusError: what is refused at once."""
        wish = wish_of(request.headers.get("accept", ""))
        selected = self._reading.filter_of(request, target)
        initial = self._initial(request)
        text = request.parameter("resourceVersion")
        revision = revision_of(text)
        if revision > self._objects.revision:
            raise too_large_revision(revision, self._objects.revision)
        limit_s = max(request.number("timeoutSeconds") or 0, -1)  # one of less than no time ends at once
        if limit_s == 0:
            limit_s = int(SHORTEST_S * (1 + random.random()))  # noqa: S311 (spreads clients that come back)
        one = _Watch(
            self,
            target.kind,
            self._objects.prefix(target.kind.storage, target.namespace),
            selected,
            wish,
            request.parameter("includeObject"),
            bookmarks=request.flag("allowWatchBookmarks"),
        )
        from_now = initial is True or (initial is None and revision == 0)
        if not from_now and revision and revision < self._objects.store.compacted:
            raise expired(f"too old resource version: {revision} ({self._objects.store.compacted})")
        events = one.run(
            self._objects.revision if from_now or revision == 0 else revision,
            limit_s,
            shown=from_now,
            tell_end=initial is True,
        )
        content_type = wish.content_type.replace(JSON, f"{JSON};stream=watch", 1) if wish.form else JSON
        return Response(200, events, content_type, {"cache-control": "no-cache, private"}, one.attach)

    def _initial(self, request: Request) -> bool | None:
        """sendInitialEvents; None where it is not given."""
        if not request.parameter("sendInitialEvents"):
            if request.parameter("resourceVersionMatch"):
                raise invalid_options(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
                )
            return None
        if request.parameter("resourceVersionMatch") != "NotOlderThan":
            raise invalid_options(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
        wanted = request.flag("sendInitialEvents")
        if wanted and not request.flag("allowWatchBookmarks"):
            raise invalid_options(
                "sendInitialEvents: Forbidden: sendInitialEvents requires setting allowWatchBookmarks to true"
            )
        return wanted

    def line(self, type_: str, kind: Kind, event: Event) -> bytes:
        """An event in its plain form; encoded once."""
        place = event.revision, event.key, type_, kind.version
        known = self._encoded.get(place)
        if known is None:
            known = b'{"type":"%b","object":%b}\n' % (type_.encode(), self.state(kind, event))
            if len(self._encoded) >= LIMIT_ENCODED:
                self._encoded.clear()
            self._encoded[place] = known
        return known

    def state(self, kind: Kind, event: Event) -> bytes:
        """The object at the event: of one that is gone its last state, with the revision of its end."""
        if event.entry is not None:
            return self._forms.shown(kind, event.entry)
        assert event.previous is not None
        last = msgspec.structs.replace(event.previous, revision=event.revision)
        return self._forms.shown(kind, last)


class _Watch:
    """One client's."""

    def __init__(
        self,
        watching: Watching,
        kind: Kind,
        prefix: str,
        selected: Filter | None,
        wish: Wish,
        include: str,
        *,
        bookmarks: bool,
    ) -> None:
        self._all = watching
        self._objects = watching._objects
        self._forms = watching._forms
        self._kind = kind
        self._prefix = prefix
        self._selected = selected
        self._wish = wish
        self._include = include
        self._bookmarks = bookmarks
        self._headed = True
        self._sink: Sink | None = None

    def attach(self, sink: Sink) -> None:
        self._sink = sink

    async def run(self, revision: int, limit_s: float, *, shown: bool, tell_end: bool) -> AsyncIterator[bytes]:
        self._all.open += 1
        try:
            async for piece in self._pieces(revision, limit_s, shown=shown, tell_end=tell_end):
                yield piece
        except Compacted as gone:
            yield self._error(expired(f"too old resource version: {gone.asked} ({gone.compacted})"))
        finally:
            self._all.open -= 1

    async def _pieces(self, revision: int, limit_s: float, *, shown: bool, tell_end: bool) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end = loop.time() + limit_s
        if shown:
            entries = self._objects.store.range(self._prefix)
            yield b"".join(
                self._shown("ADDED", self._forms.shown(self._kind, entry))
                for entry in entries
                if self._selected is None or self._selected(self._objects.plain(entry))
            )
        else:
            yield b""
        if tell_end:
            yield self._bookmark(revision, initial=True)
        events = self._objects.store.watch(self._prefix, revision)
        while True:
            due = min(end, loop.time() + BOOKMARK_S)
            if self._sink is not None and events.position >= self._objects.revision:
                form = self._kind.version if self._selected is None and not self._wish.form else ""
                position = await self._all.live.follow(self._prefix, form, self._all_told, self._sink, due)
                events = self._objects.store.watch(self._prefix, position)
            try:
                async with asyncio.timeout_at(due):
                    batch = await anext(events)
            except TimeoutError:
                if self._bookmarks:
                    yield self._bookmark(events.position, initial=False)
                if loop.time() >= end:
                    return
                continue
            except StopAsyncIteration:
                return
            told = self._all_told(batch)
            if told:
                yield told

    def _all_told(self, events: list[Event]) -> bytes:
        return b"".join(self._told(event) for event in events)

    def _told(self, event: Event) -> bytes:
        before = event.previous is not None and self._is_selected(event.previous)
        now = event.entry is not None and self._is_selected(event.entry)
        if not before and not now:
            return b""
        type_ = "MODIFIED" if before and now else "ADDED" if now else "DELETED"
        if not self._wish.form:
            if event.entry is not None and type_ == "DELETED":
                # It left the selection: what is told is its last state within, with the revision of the change.
                value = self._all.state(self._kind, msgspec.structs.replace(event, entry=None))
                return b'{"type":"DELETED","object":%b}\n' % value
            return self._all.line(type_, self._kind, event)
        return self._shown(type_, self._all.state(self._kind, event))

    def _is_selected(self, entry: object) -> bool:
        return self._selected is None or self._selected(self._objects.plain(entry))  # type: ignore[arg-type]

    def _shown(self, type_: str, value: bytes) -> bytes:
        if self._wish.form == "Table":
            value = self._forms.table(self._kind, value, self._wish, self._include, headed=self._headed)
            self._headed = False
        elif self._wish.form:
            value = self._forms.partial(value, self._wish)
        return b'{"type":"%b","object":%b}\n' % (type_.encode(), value.rstrip(b"\n"))

    def _bookmark(self, revision: int, *, initial: bool) -> bytes:
        metadata = b'"annotations":{"%b":"true"}' % INITIAL_END.encode() if initial else b'"creationTimestamp":null'
        head = b'"kind":"%b","apiVersion":"%b"' % (self._kind.kind.encode(), self._kind.api_version.encode())
        if self._wish.form == "Table":
            version = self._wish.version.encode()
            return (
                b'{"type":"BOOKMARK","object":{"kind":"Table","apiVersion":"meta.k8s.io/%b","metadata":{"resourceVersion":"%d"},'
                b'"columnDefinitions":[],"rows":[{"cells":[],"object":%b}]}}\n'
                % (version, revision, with_revision(b'{%b,"metadata":{%b}}' % (head, metadata), revision))
            )
        if self._wish.form:
            head = b'"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%b"' % self._wish.version.encode()
        value = with_revision(b'{%b,"metadata":{%b}}' % (head, metadata), revision)
        return b'{"type":"BOOKMARK","object":%b}\n' % value

    def _error(self, error: StatusError) -> bytes:
        return b'{"type":"ERROR","object":%b}\n' % msgspec.json.encode(error.status())
