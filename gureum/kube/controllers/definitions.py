"""CustomResourceDefinitions: their kinds are served from the moment they are committed; their status says so; what is theirs goes before them."""

from __future__ import annotations

from collections.abc import Callable

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.definition_status import status_of, taken
from gureum.kube.controllers.loop import Controller, Seen, itself
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.custom.custom import kinds_of
from gureum.kube.objects import Object, Objects
from gureum.kube.times import timestamp
from gureum.store.contract import Event

DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
NAME = "crd-controller"
REFUSED = "refused"


def serve_definitions(objects: Objects, catalog: Catalog) -> Callable[[], None]:
    """Keeps the catalog with what is stored, now and from now on. Returns the way to end it."""
    prefix = objects.prefix(DEFINITIONS)

    def learn(name: str, definition: Object | None) -> None:
        catalog.set_custom(name, [] if definition is None or taken(catalog, definition) else kinds_of(definition))

    def on_events(events: list[Event]) -> None:
        for event in events:
            if event.key.startswith(prefix):
                learn(objects.place(event.key).name, None if event.entry is None else objects.decode(event.entry))

    # First those whose names are their own already: another may have been refused one of them.
    for definition in sorted(objects.all(DEFINITIONS), key=_is_refused):
        learn(definition["metadata"]["name"], definition)
    return objects.store.listen(on_events)


def _is_refused(definition: Object) -> bool:
    """Whether its status says that some name is not its own."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return not any(one["type"] == "NamesAccepted" and one["status"] == "True" for one in conditions)


async def reconcile(client: Client, key: str) -> float | None:
    if key == REFUSED:
        for one in client.objects.all(DEFINITIONS):
            if _is_refused(one):
                await reconcile(client, f"/{one['metadata']['name']}")
        return None
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
    await _tell(client, name, definition)
    return None


async def _tell(client: Client, name: str, definition: Object) -> None:
    status = status_of(client.catalog, definition, timestamp(client.clock.now()))
    await client.set_status(DEFINITIONS, "", name, status, NAME, definition["metadata"]["uid"])


async def _empty(client: Client, name: str, definition: Object) -> float | None:
    """Deletes all objects of the kind, then lets the definition go. What a built-in kind has is not its own, though it has that name."""
    spec = definition["spec"]
    storage = f"{spec['group']}/{spec['names']['plural']}"
    kind = client.catalog.by_storage(storage)
    own = client.objects.prefix(storage) if kind is None or kind.custom is not None else None
    for entry in client.objects.store.range(own) if own else ():
        if not client.index.facts[entry.key].deleting and kind is not None:
            await client.delete(*client.objects.place(entry.key), NAME, policy="Background")
    if own and client.objects.store.range(own, limit=1):
        await _tell(client, name, definition)
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


def _of_definition(seen: Seen) -> list[str]:
    """Itself; and when one is gone those that were refused a name, which may be free now."""
    return itself(seen) if seen.after is not None else [REFUSED]


CONTROLLER = Controller("definitions", {DEFINITIONS: _of_definition, "*": _of_custom}, reconcile)
