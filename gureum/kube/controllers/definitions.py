"""CustomResourceDefinitions: their kinds are served from the moment they are committed; their status says so; what is theirs goes before them."""

from __future__ import annotations

from collections.abc import Callable

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Controller, Seen, itself
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.custom import kinds_of
from gureum.kube.objects import Object, Objects
from gureum.kube.times import timestamp
from gureum.store.contract import Event

DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
NAME = "crd-controller"


def serve_definitions(objects: Objects, catalog: Catalog) -> Callable[[], None]:
    """Keeps the catalog with what is stored, now and from now on. Returns the way to end it."""
    prefix = objects.prefix(DEFINITIONS)

    def learn(name: str, definition: Object | None) -> None:
        catalog.set_custom(name, [] if definition is None or _conflicts(catalog, definition) else kinds_of(definition))

    def on_events(events: list[Event]) -> None:
        for event in events:
            if event.key.startswith(prefix):
                learn(objects.place(event.key).name, None if event.entry is None else objects.decode(event.entry))

    for entry in objects.store.range(prefix):
        learn(objects.place(entry.key).name, objects.decode(entry))
    return objects.store.listen(on_events)


def _conflicts(catalog: Catalog, definition: Object) -> str:
    """The name that somebody else has in the group; "" when all are free."""
    spec, own = definition["spec"], definition["metadata"]["name"]
    names = spec["names"]
    for kind in catalog.all():
        if kind.group == spec["group"] and kind.qualified != own and kind.kind == names["kind"]:
            return str(names["kind"])
    return ""


async def reconcile(client: Client, key: str) -> float | None:
    name = key.removeprefix("/")
    definition = client.get(DEFINITIONS, "", name)
    if definition is None:
        return None
    if definition["metadata"].get("deletionTimestamp"):
        return await _empty(client, name, definition)
    if FINALIZER not in (definition["metadata"].get("finalizers") or ()):

        def change(obj: Object) -> Object:
            finalizers = [*(obj["metadata"].get("finalizers") or ()), FINALIZER]
            return {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}

        await client.update(DEFINITIONS, "", name, change, NAME)
    await client.set_status(DEFINITIONS, "", name, _status(client, definition), NAME)
    return None


def _status(client: Client, definition: Object) -> Object:
    spec, known = definition["spec"], definition.get("status") or {}
    taken = _conflicts(client.catalog, definition)
    now = timestamp(client.clock.now())
    stored = [one["name"] for one in spec["versions"] if one.get("storage")]
    versions = [
        *(known.get("storedVersions") or ()),
        *(one for one in stored if one not in (known.get("storedVersions") or ())),
    ]
    wanted = [
        ("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    if taken:
        wanted = [
            ("NamesAccepted", "False", "KindConflict", f'"{taken}" is already in use'),
            ("Established", "False", "NotAccepted", "not all names are accepted"),
        ]
    before = {one["type"]: one for one in known.get("conditions") or ()}
    conditions = []
    for type_, status, reason, message in wanted:
        same = before.get(type_, {}).get("status") == status
        since = before[type_]["lastTransitionTime"] if same else now
        conditions.append(
            {"type": type_, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
        )
    accepted = {"plural": "", "kind": ""} if taken else spec["names"]
    return {"conditions": conditions, "acceptedNames": accepted, "storedVersions": versions}


async def _empty(client: Client, name: str, definition: Object) -> float | None:
    """Deletes all objects of the kind, then lets the definition go."""
    spec = definition["spec"]
    storage = f"{spec['group']}/{spec['names']['plural']}"
    entries = client.objects.store.range(client.objects.prefix(storage))
    for entry in entries:
        if not client.index.facts[entry.key].deleting and client.catalog.by_storage(storage) is not None:
            await client.delete(*client.objects.place(entry.key), NAME, policy="Background")
    if client.objects.store.range(client.objects.prefix(storage), limit=1):
        return 1.0

    def change(obj: Object) -> Object | None:
        finalizers = obj["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return None
        return {**obj, "metadata": {**obj["metadata"], "finalizers": [one for one in finalizers if one != FINALIZER]}}

    await client.update(DEFINITIONS, "", name, change, NAME)
    return None


def _of_custom(seen: Seen) -> list[str]:
    """The definition that may wait for the last of its objects."""
    if seen.after is not None:
        return []
    group, _, plural = seen.place.storage.partition("/")
    return [f"/{plural}.{group}"] if "." in group else []


CONTROLLER = Controller("definitions", {DEFINITIONS: itself, "*": _of_custom}, reconcile)
