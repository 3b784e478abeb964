"""What holds for the metadata of every object: names, labels, annotations, finalizers, owners; and what a change must leave alone.

Source: Kubernetes, "Object Names and IDs", "Labels and Selectors"; k8s.io/apimachinery/pkg/api/validation.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from gureum.kube.errors import Cause, forbidden_field, invalid, required

Object = dict[str, Any]
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_LABEL = re.compile(rf"^{_LABEL}$")
DNS_1035 = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
SUBDOMAIN = re.compile(rf"^{_LABEL}(\.{_LABEL})*$")
QUALIFIED = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
    "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
DNS_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
LABEL_KEY_TEXT = (
    f"a valid label key {QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
LIMIT_ANNOTATIONS_BYTES = 256 * 1024
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
LIMIT_GENERATED = 58
DNS_LABEL_NAMES = frozenset({"core/namespaces"})
DNS_1035_NAMES = frozenset({"core/services"})
PATH_NAMES = frozenset(
    {
        *(
            f"rbac.authorization.k8s.io/{name}"
            for name in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
        ),
        "certificates.k8s.io/certificatesigningrequests",
        "networking.k8s.io/ipaddresses",
    }
)
"""Kinds whose names only have to fit into a path."""


def generated(prefix: str) -> str:
    """A name from generateName."""
    return prefix[:LIMIT_GENERATED] + suffix()


def suffix() -> str:
    """Five letters and digits that make no words."""
    number, found = secrets.randbelow(len(_SUFFIX) ** 5), ""
    for _ in range(5):
        number, digit = divmod(number, len(_SUFFIX))
        found += _SUFFIX[digit]
    return found


def validate_metadata(storage: str, obj: Object, *, namespaced: bool) -> list[Cause]:
    metadata = obj["metadata"]
    causes = validate_name(storage, metadata.get("name", ""))
    if namespaced:
        causes += _subdomain("metadata.namespace", metadata.get("namespace", ""), label=True)
    causes += validate_labels("metadata.labels", metadata.get("labels") or {})
    causes += _annotations(metadata.get("annotations") or {})
    for at, name in enumerate(metadata.get("finalizers") or ()):
        causes += _qualified("metadata.finalizers", name)
        if storage.startswith(_STRICT) and "/" not in name and name not in FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(invalid(f"metadata.finalizers[{at}]", name, text))
    for at, owner in enumerate(metadata.get("ownerReferences") or ()):
        causes += _owner(f"metadata.ownerReferences[{at}]", owner)
    controllers = [one for one in metadata.get("ownerReferences") or () if one.get("controller")]
    if len(controllers) > 1:
        names = " and ".join(str(one.get("name")) for one in controllers[:2])
        causes.append(
            invalid(
                "metadata.ownerReferences",
                None,
                f'Only one reference can have Controller set to true. Found "true" in references for {names}',
            )
        )
    return causes


def validate_name(storage: str, name: str) -> list[Cause]:
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    if storage in PATH_NAMES:
        if name in (".", "..") or "/" in name or "%" in name or len(name) > 512:
            return [invalid("metadata.name", name, "may not be '.', '..', or contain '/' or '%'")]
        return []
    if storage in DNS_1035_NAMES:
        if len(name) > 63:
            return [invalid("metadata.name", name, "must be no more than 63 bytes")]
        return [] if DNS_1035.match(name) else [invalid("metadata.name", name, DNS_1035_TEXT)]
    return _subdomain("metadata.name", name, label=storage in DNS_LABEL_NAMES)


def validate_labels(field: str, labels: dict[str, str]) -> list[Cause]:
    causes = []
    for key, value in labels.items():
        causes += _qualified(field, key)
        if len(value) > 63:
            causes.append(invalid(field, value, "must be no more than 63 bytes"))
        if value and not QUALIFIED.match(value):
            causes.append(invalid(field, value, VALUE_TEXT))
    return causes


def _annotations(annotations: dict[str, str]) -> list[Cause]:
    causes = []
    for key in annotations:
        causes += _qualified("metadata.annotations", key.lower())
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > LIMIT_ANNOTATIONS_BYTES:
        causes.append(
            Cause(
                "FieldValueTooLong",
                "metadata.annotations",
                f"Too long: may not be more than {LIMIT_ANNOTATIONS_BYTES} bytes",
            )
        )
    return causes


def _subdomain(field: str, name: str, *, label: bool) -> list[Cause]:
    limit = 63 if label else 253
    if len(name) > limit:
        return [invalid(field, name, f"must be no more than {limit} bytes")]
    if label:
        return [] if DNS_LABEL.match(name) else [invalid(field, name, LABEL_TEXT)]
    return [] if SUBDOMAIN.match(name) else [invalid(field, name, SUBDOMAIN_TEXT)]


def _qualified(field: str, key: str) -> list[Cause]:
    """Of a label's key: an optional prefix and a name. Source: k8s.io/apimachinery/pkg/api/validate/content (IsLabelKey)."""
    if key.count("/") > 1:
        return [invalid(field, key, LABEL_KEY_TEXT)]
    prefix, slash, name = key.rpartition("/")
    texts = []
    if slash and not prefix:
        texts.append("prefix part must be non-empty")
    elif len(prefix) > 253:
        texts.append("prefix part must be no more than 253 bytes")
    elif slash and not SUBDOMAIN.match(prefix):
        texts.append(f"prefix part {SUBDOMAIN_TEXT}")
    if not name:
        texts.append("name part must be non-empty")
    elif len(name) > 63:
        texts.append("name part must be no more than 63 bytes")
    if not QUALIFIED.match(name):
        texts.append(f"name part {QUALIFIED_TEXT}")
    return [invalid(field, key, text) for text in texts]


def _owner(field: str, owner: Object) -> list[Cause]:
    causes = [
        required(f"{field}.{name}", "must not be empty")
        for name in ("apiVersion", "kind", "name", "uid")
        if not owner.get(name)
    ]
    if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Event"):
        causes.append(invalid(field, owner, "/v1, Kind=Event is disallowed from being an owner"))
    if str(owner.get("apiVersion", "")).count("/") > 1:
        causes.append(invalid(f"{field}.apiVersion", owner["apiVersion"], "version must not be empty"))
    return causes


FINALIZERS = ("foregroundDeletion", "kubernetes", "orphan")
"""Those without a domain. Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidateFinalizerName)."""
_STRICT = ("apps/", "batch/", "core/")
_KEPT = ("uid", "creationTimestamp", "selfLink", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")


def carry_over(obj: Object, old: Object) -> list[Cause]:
    """Takes over from the object as it was what a client cannot change. What it tried to is said."""
    metadata, before = obj["metadata"], old["metadata"]
    causes = [
        invalid(f"metadata.{name}", metadata[name], "field is immutable")
        for name in ("name", "namespace")
        if metadata.get(name, before.get(name)) != before.get(name)
    ]
    if metadata.get("generateName") is None and before.get("generateName"):
        metadata["generateName"] = before["generateName"]
    for name in _KEPT:
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)
    if before.get("deletionTimestamp"):
        added = set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ())
        if added:
            names = ", ".join(f'"{one}"' for one in sorted(added))
            text = "no new finalizers can be added if the object is being deleted, found new finalizers"
            causes.append(forbidden_field("metadata.finalizers", f"{text} []string{{{names}}}"))
    return causes
