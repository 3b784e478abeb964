"""What a ReplicaSet of a deployment says: its template, how many it wants and has, its revision."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from gureum.base.numerals import natural
from gureum.kube.controllers.workloads.pods import HASH
from gureum.kube.kinds.amounts import settled_template
from gureum.kube.objects import Object

REVISION = "deployment.kubernetes.io/revision"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def template_of(obj: Object) -> Any:
    """Of a deployment or a ReplicaSet, without what tells revisions apart: equal templates are one revision."""
    template = settled_template(obj["spec"]["template"])
    metadata = dict(template.get("metadata") or {})
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != HASH}
    metadata.pop("creationTimestamp", None)
    return {**template, "metadata": {**metadata, "labels": labels}}


def replicas_of(one: Object) -> int:
    return int(one["spec"].get("replicas", 0))


def status_number(one: Object, name: str) -> int:
    return int((one.get("status") or {}).get(name) or 0)


def available_of(one: Object) -> int:
    return status_number(one, "availableReplicas")


def revision_of(one: Object) -> int:
    text = (one["metadata"].get("annotations") or {}).get(REVISION, "0")
    return natural(text) or 0


def hash_of(template: Any, collisions: int) -> str:
    """Ten letters that stand for a template. `collisions`: how often they stood for another one's, too."""
    text = msgspec.json.encode([template, collisions], order="sorted")
    number = int.from_bytes(hashlib.sha256(text).digest()[:8])
    found = ""
    for _ in range(10):
        number, at = divmod(number, len(_LETTERS))
        found += _LETTERS[at]
    return found
