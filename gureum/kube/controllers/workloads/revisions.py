"""ControllerRevisions: what the template of a StatefulSet or DaemonSet was, for its history and `kubectl rollout undo`.

Source: k8s.io/kubernetes/pkg/controller/history. A revision's data is a strategic merge patch that brings the template back.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from gureum.kube.controllers.client import Client, owner_reference
from gureum.kube.kinds.amounts import settled_template
from gureum.kube.objects import Object

REVISIONS = "apps/controllerrevisions"
LABEL = "controller-revision-hash"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Revisions(msgspec.Struct):
    """Of one owner, oldest first. `current`: the one of its template now."""

    known: list[Object]
    current: Object

    def name_of(self, pod: Object) -> str:
        """The revision that a pod was made by: the value of its label."""
        return str((pod["metadata"].get("labels") or {}).get(LABEL, ""))


async def revisions_of(client: Client, owner: Object, manager: str) -> Revisions:
    """The owner's revisions, with one for its template as it is."""
    uid = owner["metadata"]["uid"]
    known = sorted(client.many(client.index.dependents(uid, REVISIONS)), key=lambda one: one.get("revision", 0))
    data = _data(owner)
    newest = known[-1].get("revision", 0) if known else 0
    current = next((one for one in known if _settled(one.get("data")) == data), None)
    if current is None:
        current = await client.create(REVISIONS, _made(owner, data, newest + 1), manager)
        known.append(current)
    elif current.get("revision", 0) < newest:
        # A template that was there before: its revision becomes the newest.
        renewed = await client.update(
            REVISIONS,
            current["metadata"]["namespace"],
            current["metadata"]["name"],
            lambda one: {**one, "revision": newest + 1},
            manager,
        )
        current = renewed or current
        known = [one for one in known if one["metadata"]["name"] != current["metadata"]["name"]] + [current]
    return Revisions(known, current)


async def forget_old(client: Client, owner: Object, revisions: Revisions, used: set[str], manager: str) -> None:
    """Keeps as many as the owner's `revisionHistoryLimit` says, beside those in use."""
    limit = int(owner["spec"].get("revisionHistoryLimit", 10))
    used = used | {revisions.current["metadata"]["name"]}
    unused = [one for one in revisions.known if one["metadata"]["name"] not in used]
    for one in unused[: max(0, len(unused) - limit)]:
        metadata = one["metadata"]
        await client.delete(REVISIONS, metadata["namespace"], metadata["name"], manager, uid=metadata["uid"])


def _data(owner: Object) -> Object:
    return {"spec": {"template": {**settled_template(owner["spec"]["template"]), "$patch": "replace"}}}


def _settled(data: Any) -> Any:
    """The data of a revision, which may have been written before quantities were kept in one form."""
    template = (data.get("spec") or {}).get("template") if isinstance(data, dict) else None
    return {"spec": {"template": settled_template(template)}} if isinstance(template, dict) else data


def _made(owner: Object, data: Object, revision: int) -> Object:
    metadata = owner["metadata"]
    digest = hashlib.sha256(msgspec.json.encode(data, order="deterministic") + metadata["uid"].encode()).digest()
    name = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:10])
    labels: dict[str, Any] = dict((owner["spec"]["template"].get("metadata") or {}).get("labels") or {})
    full = f"{metadata['name'][:200]}-{name}"
    return {
        "metadata": {
            "name": full,
            "namespace": metadata["namespace"],
            "labels": labels | {LABEL: name if owner["kind"] == "DaemonSet" else full},
            "annotations": dict(metadata.get("annotations") or {}),  # a history tells why: kubernetes.io/change-cause
            "ownerReferences": [owner_reference(owner)],
        },
        "data": data,
        "revision": revision,
    }


def label_of(revision: Object) -> str:
    """What a pod of a revision is marked with."""
    return str(revision["metadata"]["labels"][LABEL])
