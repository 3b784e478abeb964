"""NamespaceLifecycle: nothing is made in a namespace that is not there or is going; some stay. A new one is furnished in its own commit."""

from __future__ import annotations

import uuid

from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.errors import StatusError, forbidden, not_found
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Objects
from gureum.kube.times import timestamp
from gureum.ports.clock import Clock
from gureum.store.contract import Unchanged

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


def namespace_lifecycle(objects: Objects, catalog: Catalog, clock: Clock) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        kind = attributes.target.kind
        if kind.storage == "core/namespaces":
            if attributes.operation == "DELETE" and attributes.target.name in IMMORTAL:
                raise forbidden(kind, attributes.target.name, "this namespace may not be deleted")
            return _furnished(objects, attributes, clock) if attributes.operation == "CREATE" else None
        if not kind.namespaced or attributes.operation != "CREATE":
            return None
        return [_require_active(objects, catalog, attributes, kind)]

    return Plugin(admit, operations=frozenset({"CREATE", "DELETE"}), parts=True)


def _require_active(objects: Objects, catalog: Catalog, attributes: Attributes, kind: Kind) -> Unchanged:
    name = attributes.namespace
    entry = objects.entry("core/namespaces", "", name)
    if entry is None:
        namespaces = catalog.by_storage("core/namespaces")
        assert namespaces is not None
        raise not_found(namespaces, name)
    if b'"deletionTimestamp"' in entry.value and objects.decode(entry)["metadata"].get("deletionTimestamp"):
        text = f"unable to create new content in namespace {name} because it is being terminated"
        error = forbidden(kind, attributes.obj["metadata"].get("name", ""), text)
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {name} is being terminated",
            "field": "metadata.namespace",
        }
        raise StatusError(403, "Forbidden", error.message, {**(error.details or {}), "causes": [cause]})
    # The commit fails when the namespace changes meanwhile: none is emptied and gone while something comes into it.
    return Unchanged(entry.key, entry.revision)


def _furnished(objects: Objects, attributes: Attributes, clock: Clock) -> list[Extra]:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": "default",
            "namespace": attributes.obj["metadata"]["name"],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": timestamp(clock.now()),
        },
    }
    return [objects.put("core/serviceaccounts", account)]
