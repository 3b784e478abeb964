"""What a body says of the object that it is meant for: name, namespace and revision must be those of the request and of what is stored."""

from __future__ import annotations

from gureum.kube.errors import bad_request
from gureum.kube.objects import Object
from gureum.kube.requests import Target


def settle_place(obj: Object, target: Target) -> None:
    """Namespace and name of the path and of the object must agree; what the object leaves out is written into it. BadRequest."""
    metadata = obj["metadata"]
    if target.kind.namespaced:
        namespace = metadata.get("namespace") or target.namespace
        if namespace != target.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if not namespace:
            raise bad_request("an empty namespace may not be set during creation")
        metadata["namespace"] = namespace
    elif metadata.get("namespace"):
        raise (
            bad_request("namespace may not be set for cluster-scoped kinds")
            if target.namespace
            else bad_request("the namespace of the provided object does not match the namespace sent on the request")
        )
    if target.name and metadata.get("name", target.name) != target.name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )
    if target.name:
        metadata["name"] = target.name


def wanted_revision(obj: Object) -> str:
    """The revision that a write is meant for; "" when it is meant for any, which "0" says, too."""
    said = str((obj.get("metadata") or {}).get("resourceVersion") or "")
    return "" if said == "0" else said
