"""What is taken, and told of: fields that are deprecated, or mean something else than they seem to.

Source: k8s.io/kubernetes (pkg/api/pod/warnings.go, pkg/api/node/util.go, the strategies' WarningsOnCreate), whose words these are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gureum.kube.kinds.quantities import is_quantity, value_of

Object = dict[str, Any]
DEPRECATED = {
    "core/componentstatuses": "v1 ComponentStatus is deprecated in v1.19+",
    "core/endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}
"""Kinds that every request is told of."""
TEMPLATES = {
    "apps/daemonsets": ("spec", "template"),
    "apps/deployments": ("spec", "template"),
    "apps/replicasets": ("spec", "template"),
    "apps/statefulsets": ("spec", "template"),
    "batch/cronjobs": ("spec", "jobTemplate", "spec", "template"),
    "batch/jobs": ("spec", "template"),
    "core/replicationcontrollers": ("spec", "template"),
}
_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
}
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_BYTES = ("memory", "ephemeral-storage")


def of_new(storage: str, obj: Object) -> list[str]:
    """Of an object that was made."""
    if storage == "networking.k8s.io/ingresses":
        told = _INGRESS_CLASS in (obj["metadata"].get("annotations") or {})
        text = f"annotation \"{_INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"
        return [text] if told else []
    if storage == "core/persistentvolumeclaims":
        return list(_claim(obj.get("spec") or {}, "spec"))
    if storage == "core/pods":
        return list(_pod(obj.get("spec") or {}, "spec"))
    return of_template(storage, obj)


def of_template(storage: str, obj: Object) -> list[str]:
    """Of the template in an object, new or changed."""
    path = TEMPLATES.get(storage)
    if path is None:
        return []
    template: Any = obj
    for name in path:
        template = template.get(name) or {}
    return list(_pod(template.get("spec") or {}, ".".join([*path, "spec"])))


def _pod(spec: Object, field: str) -> Iterator[str]:
    for label in spec.get("nodeSelector") or ():
        if label in _LABELS:
            yield f"{field}.nodeSelector[{label}]: {_LABELS[label]}"
    yield from _node_terms((spec.get("affinity") or {}).get("nodeAffinity") or {}, f"{field}.affinity.nodeAffinity")
    for number, one in enumerate(spec.get("topologySpreadConstraints") or ()):
        at, key = f"{field}.topologySpreadConstraints[{number}]", one.get("topologyKey")
        if key in _LABELS:
            yield f"{at}.topologyKey: {key} is {_LABELS[key]}"
        if one.get("labelSelector") is None:
            yield f"{at}.labelSelector: a null labelSelector results in matching no pod"
    for number, volume in enumerate(spec.get("volumes") or ()):
        claim = ((volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}).get("spec") or {}
        yield from _claim(claim, f"{field}.volumes[{number}].ephemeral.volumeClaimTemplate.spec")
    yield from _twice(spec.get("hostAliases") or (), "ip", f"{field}.hostAliases")
    yield from _twice(spec.get("imagePullSecrets") or (), "name", f"{field}.imagePullSecrets")
    yield from _fractions(spec.get("overhead") or {}, _BYTES, f"{field}.overhead")
    for list_name in ("initContainers", "containers"):
        for number, one in enumerate(spec.get(list_name) or ()):
            yield from _container(one, f"{field}.{list_name}[{number}]")


def _node_terms(affinity: Object, at: str) -> Iterator[str]:
    needed = "requiredDuringSchedulingIgnoredDuringExecution"
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    terms = [
        (f"{at}.{needed}.nodeSelectorTerms[{number}]", one)
        for number, one in enumerate((affinity.get(needed) or {}).get("nodeSelectorTerms") or ())
    ] + [
        (f"{at}.{preferred}[{number}].preference", one.get("preference") or {})
        for number, one in enumerate(affinity.get(preferred) or ())
    ]
    for place, term in terms:
        for number, one in enumerate(term.get("matchExpressions") or ()):
            if one.get("key") in _LABELS:
                yield f"{place}.matchExpressions[{number}].key: {one['key']} is {_LABELS[one['key']]}"


def _twice(items: Any, name: str, at: str) -> Iterator[str]:
    seen: set[str] = set()
    for number, one in enumerate(items):
        value = one.get(name, "")
        if value in seen:
            yield f'{at}[{number}].{name}: duplicate {name} "{value}"'
        seen.add(value)


def _container(one: Object, at: str) -> Iterator[str]:
    for part in ("limits", "requests"):
        yield from _fractions((one.get("resources") or {}).get(part) or {}, _BYTES, f"{at}.resources.{part}")
    seen: set[str] = set()
    for number, variable in enumerate(one.get("env") or ()):
        name, value = variable.get("name", ""), variable.get("value", "")
        own = f"$({name})"  # a value that is made of the one before hides nothing
        if name in seen and (variable.get("valueFrom") is not None or value == own or own not in value):
            yield f'{at}.env[{number}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _claim(spec: Object, at: str) -> Iterator[str]:
    for part in ("requests", "limits"):
        amounts = (spec.get("resources") or {}).get(part) or {}
        yield from _fractions(amounts, ("storage",), f"{at}.resources.{part}")


def _fractions(amounts: Object, names: tuple[str, ...], at: str) -> Iterator[str]:
    for name in names:
        value = amounts.get(name)
        if isinstance(value, str) and is_quantity(value) and value_of(value).denominator != 1:
            yield f'{at}[{name}]: fractional byte value "{value}" is invalid, must be an integer'
