"""What a pod's claims of volumes mean for where it can be."""

from __future__ import annotations

from typing import Any

from gureum.kube.kinds.quantities import as_text
from gureum.kube.objects import Object, Objects
from gureum.kube.scheduling.facts import amount_of
from gureum.kube.scheduling.filters import Volumes
from gureum.kube.selectors import from_object, matches

CLAIMS, VOLUMES, CLASSES = "core/persistentvolumeclaims", "core/persistentvolumes", "storage.k8s.io/storageclasses"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


def claims_of(pod: Object) -> list[str]:
    """Names of the claims that it uses."""
    found = []
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            found.append(str(volume["persistentVolumeClaim"].get("claimName")))
        elif volume.get("ephemeral"):
            found.append(f"{pod['metadata']['name']}-{volume.get('name')}")
    return found


def volumes_of(objects: Objects, pod: Object) -> tuple[Volumes, list[str], str]:
    """What its claims ask of nodes, those of them that wait for a node, and why it can be nowhere ("": it can)."""
    terms: list[Any] = []
    free: list[tuple[Any, ...]] = []
    waiting: list[str] = []
    namespace = pod["metadata"]["namespace"]
    for name in claims_of(pod):
        claim = objects.get(CLAIMS, namespace, name)
        if claim is None:
            return Volumes(), [], f'persistentvolumeclaim "{name}" not found'
        if claim["metadata"].get("deletionTimestamp"):
            return Volumes(), [], f'persistentvolumeclaim "{name}" is being deleted'
        volume = claim["spec"].get("volumeName")
        if (claim.get("status") or {}).get("phase") == "Lost":
            return Volumes(), [], f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
        if volume and (claim.get("status") or {}).get("phase") == "Bound":
            found = objects.get(VOLUMES, "", volume)
            if found is not None and (wanted := terms_of(found)) is not None:
                terms.append(wanted)
        elif not is_delayed(objects, claim):
            return Volumes(), [], UNBOUND
        else:
            waiting.append(name)
            if _is_made_anywhere(objects, claim):
                continue
            free.append(tuple(terms_of(one) or () for one in objects.all(VOLUMES) if fits(one, claim)))
    return Volumes(tuple(terms), tuple(free)), waiting, ""


def terms_of(volume: Object) -> Any:
    """Of the nodes from which it can be reached; None: from all."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return None if required is None else required.get("nodeSelectorTerms") or []


def is_delayed(objects: Objects, claim: Object) -> bool:
    """Whether its class has it wait for a pod's node."""
    found = objects.get(CLASSES, "", claim["spec"].get("storageClassName") or "")
    return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"


def _is_made_anywhere(objects: Objects, claim: Object) -> bool:
    """Whether somebody provisions for its class."""
    found = objects.get(CLASSES, "", claim["spec"].get("storageClassName") or "") or {}
    return bool(found.get("provisioner", NO_PROVISIONER) != NO_PROVISIONER)


def fits(volume: Object, claim: Object) -> bool:
    """Whether the volume is, or could be, the claim's: size, class, modes, labels; and nobody else's."""
    offered, wanted = volume["spec"], claim["spec"]
    holder = offered.get("claimRef")
    if holder:
        metadata = claim["metadata"]
        if (holder.get("namespace"), holder.get("name")) != (metadata["namespace"], metadata["name"]):
            return False
        if holder.get("uid") and holder["uid"] != metadata["uid"]:
            return False
    elif volume["metadata"].get("deletionTimestamp") or (volume.get("status") or {}).get("phase") not in (
        "Available",
        "Pending",
        None,
    ):
        return False
    if wanted.get("volumeName") not in (None, "", volume["metadata"]["name"]):
        return False
    if (offered.get("storageClassName") or "") != (wanted.get("storageClassName") or ""):
        return False
    if (offered.get("volumeMode") or "Filesystem") != (wanted.get("volumeMode") or "Filesystem"):
        return False
    if not set(wanted.get("accessModes") or ()) <= set(offered.get("accessModes") or ()):
        return False
    if size_of(volume) < _size_wanted(claim):
        return False
    selector = from_object(wanted.get("selector"))
    # A volume that was named is taken whatever its labels are.
    return not selector or bool(holder) or matches(selector, volume["metadata"].get("labels") or {})


def size_of(volume: Object) -> int:
    """In thousandths of a byte."""
    return amount_of(as_text((volume["spec"].get("capacity") or {}).get("storage", "0")))


def _size_wanted(claim: Object) -> int:
    return amount_of(as_text(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0")))
