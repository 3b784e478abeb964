"""Volumes, claims, and where they come from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gureum.kube.tables.column import NONE, Object, age, at, name_of, table

UNSET = "<unset>"
DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


@table(
    "Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age", "VolumeMode"
)
def volumes(one: Object, now: datetime) -> list[Any]:
    claim = at(one, "spec", "claimRef")
    phase = at(one, "status", "phase", default="")
    return [
        name_of(one),
        str(at(one, "spec", "capacity", "storage", default="")),
        _modes(at(one, "spec", "accessModes")),
        at(one, "spec", "persistentVolumeReclaimPolicy", default=""),
        "Terminating" if at(one, "metadata", "deletionTimestamp") else phase,
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        at(one, "spec", "storageClassName", default=""),
        at(one, "spec", "volumeAttributesClassName") or UNSET,
        at(one, "status", "reason", default=""),
        age(one, now),
        at(one, "spec", "volumeMode") or UNSET,
    ]


@table("Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age", "VolumeMode")
def claims(one: Object, now: datetime) -> list[Any]:
    bound = at(one, "spec", "volumeName", default="")
    phase = at(one, "status", "phase", default="")
    return [
        name_of(one),
        "Terminating" if at(one, "metadata", "deletionTimestamp") else phase,
        bound,
        str(at(one, "status", "capacity", "storage", default="")) if bound else "",
        _modes(at(one, "status", "accessModes")) if bound else "",
        at(one, "spec", "storageClassName", default=""),
        at(one, "spec", "volumeAttributesClassName") or UNSET,
        age(one, now),
        at(one, "spec", "volumeMode") or UNSET,
    ]


def _modes(found: Any) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (found or ()))


@table("Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age")
def storage_classes(one: Object, now: datetime) -> list[Any]:
    marks = at(one, "metadata", "annotations", default={})
    default = any(marks.get(mark) == "true" for mark in DEFAULT_CLASS)
    return [
        name_of(one) + (" (default)" if default else ""),
        one.get("provisioner", ""),
        one.get("reclaimPolicy") or "Delete",
        one.get("volumeBindingMode") or "Immediate",
        _bool(one.get("allowVolumeExpansion")),
        age(one, now),
    ]


@table("Name,DriverName,Age")
def volume_attributes_classes(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), one.get("driverName", ""), age(one, now)]


@table("Name,Attacher,PV,Node,Attached,Age")
def volume_attachments(one: Object, now: datetime) -> list[Any]:
    return [
        name_of(one),
        at(one, "spec", "attacher", default=""),
        at(one, "spec", "source", "persistentVolumeName", default=""),
        at(one, "spec", "nodeName", default=""),
        _bool(at(one, "status", "attached")),
        age(one, now),
    ]


@table("Name,Drivers#,Age")
def csi_nodes(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), len(at(one, "spec", "drivers", default=[])), age(one, now)]


@table("Name,AttachRequired,PodInfoOnMount,StorageCapacity,TokenRequests,RequiresRepublish,Modes,Age")
def csi_drivers(one: Object, now: datetime) -> list[Any]:
    spec = at(one, "spec", default={})
    tokens = ",".join(token.get("audience", "") for token in spec.get("tokenRequests") or ())
    return [
        name_of(one),
        _bool(spec.get("attachRequired", True)),
        _bool(spec.get("podInfoOnMount")),
        _bool(spec.get("storageCapacity")),
        tokens or UNSET,
        _bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age(one, now),
    ]


@table("Name,StorageClassName,Capacity,Age")
def csi_capacities(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), one.get("storageClassName", ""), str(one.get("capacity", UNSET)), age(one, now)]


def _bool(value: Any) -> str:
    return "true" if value else "false"
