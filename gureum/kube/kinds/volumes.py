"""Volumes, claims, and the classes and drivers that they come from.

Source: Kubernetes API reference (PersistentVolume, PersistentVolumeClaim v1, storage.k8s.io/v1).
"""

from __future__ import annotations

from typing import Any

from gureum.kube.errors import Cause, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.quantities import TEXT, as_text, is_quantity, value_of
from gureum.kube.kinds.rules import Rules

Object = dict[str, Any]
ACCESS = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
CLAIM_TEXT = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"
)
_RECLAIM = ("Delete", "Recycle", "Retain")
_BINDING = ("Immediate", "WaitForFirstConsumer")


def _volume(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if spec.get("hostPath") is not None:
        spec["hostPath"].setdefault("type", "")


def _claim(one: Object) -> None:
    one.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _pending(one: Object) -> None:
    one["status"] = {"phase": "Pending"}


def _pending_volume(one: Object) -> None:
    _pending(one)
    # Storage object in use protection: it stays while a claim has it.
    finalizers = one["metadata"].setdefault("finalizers", [])
    if "kubernetes.io/pv-protection" not in finalizers:
        finalizers.append("kubernetes.io/pv-protection")


def _validate_volume(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = _access(spec)
    capacity = (spec.get("capacity") or {}).get("storage")
    if capacity is None:
        causes.append(required("spec.capacity"))
    elif not is_quantity(capacity) or value_of(as_text(capacity)) <= 0:
        causes.append(
            invalid("spec.capacity[storage]", capacity, "must be greater than zero" if is_quantity(capacity) else TEXT)
        )
    policy = spec["persistentVolumeReclaimPolicy"]
    if policy not in _RECLAIM:
        causes.append(unsupported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    if not _source(spec):
        causes.append(required("spec", "must specify a volume type"))
    if old is not None and not causes:
        before = _source(old.get("spec") or {})
        if before != _source(spec):
            text = "spec.persistentvolumesource is immutable after creation\n"
            causes.append(forbidden_field("spec.persistentvolumesource", text))
        if old["spec"].get("volumeMode") != spec.get("volumeMode"):
            causes.append(invalid("spec.volumeMode", spec.get("volumeMode"), "field is immutable"))
    return causes


_NOT_SOURCES = {
    "capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions", "volumeMode", "nodeAffinity",
    "volumeAttributesClassName",
}  # fmt: skip


def _source(spec: Object) -> Object:
    return {name: value for name, value in spec.items() if name not in _NOT_SOURCES}


def _access(spec: Object) -> list[Cause]:
    modes = spec.get("accessModes") or []
    if not modes:
        return [required("spec.accessModes", "at least 1 access mode is required")]
    causes = [unsupported("spec.accessModes", one, ACCESS) for one in modes if one not in ACCESS]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        causes.append(forbidden_field("spec.accessModes", "may not use ReadWriteOncePod with other access modes"))
    return causes


def _validate_claim(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = _access(spec)
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if wanted is None:
        causes.append(required("spec.resources[storage]"))
    elif not is_quantity(wanted) or value_of(as_text(wanted)) <= 0:
        causes.append(
            invalid("spec.resources[storage]", wanted, "must be greater than zero" if is_quantity(wanted) else TEXT)
        )
    if old is not None and not causes:
        causes += _changed_claim(spec, old.get("spec") or {}, bound=(old.get("status") or {}).get("phase") == "Bound")
    return causes


def _changed_claim(spec: Object, before: Object, *, bound: bool) -> list[Cause]:
    free = {"volumeName"} if not before.get("volumeName") else set()
    if before.get("storageClassName") is None:
        free.add("storageClassName")
    if bound:
        free |= {"resources", "volumeAttributesClassName"}
    kept = {name: value for name, value in before.items() if name not in free}
    if kept != {name: value for name, value in spec.items() if name not in free}:
        return [forbidden_field("spec", CLAIM_TEXT)]
    was, is_ = (((one.get("resources") or {}).get("requests") or {}).get("storage", "0") for one in (before, spec))
    if value_of(as_text(is_)) < value_of(as_text(was)):
        return [forbidden_field("spec.resources.requests.storage", "field can not be less than status.capacity")]
    return []


def _storage_class(one: Object) -> None:
    one.setdefault("reclaimPolicy", "Delete")
    one.setdefault("volumeBindingMode", "Immediate")


def _validate_class(one: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    if not one.get("provisioner"):
        causes.append(required("provisioner"))
    if one.get("reclaimPolicy") not in ("Delete", "Retain"):
        causes.append(unsupported("reclaimPolicy", one.get("reclaimPolicy"), ("Delete", "Retain")))
    if one.get("volumeBindingMode") not in _BINDING:
        causes.append(unsupported("volumeBindingMode", one.get("volumeBindingMode"), _BINDING))
    if old is not None:
        causes += [
            forbidden_field(name, f"updates to {name} are forbidden.")
            for name in ("parameters", "provisioner", "reclaimPolicy")
            if (one.get(name) or None) != (old.get(name) or None)
        ]
        if one.get("volumeBindingMode") != old.get("volumeBindingMode"):
            causes.append(invalid("volumeBindingMode", one.get("volumeBindingMode"), "field is immutable"))
    return causes


def _driver(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("attachRequired", True)
    spec.setdefault("podInfoOnMount", False)
    spec.setdefault("storageCapacity", False)
    spec.setdefault("requiresRepublish", False)
    spec.setdefault("seLinuxMount", False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


RULES = {
    "core/persistentvolumes": Rules(
        default=_volume, create=_pending_volume, validate=_validate_volume, generation=False
    ),
    "core/persistentvolumeclaims": Rules(default=_claim, create=_pending, validate=_validate_claim, generation=False),
    "storage.k8s.io/storageclasses": Rules(default=_storage_class, validate=_validate_class, generation=False),
    "storage.k8s.io/csidrivers": Rules(default=_driver, conditional=True),
    "storage.k8s.io/csinodes": Rules(conditional=True, generation=False),
    "storage.k8s.io/volumeattachments": Rules(conditional=True, generation=False),
}
