"""What makes pods: ReplicationController, ReplicaSet, Deployment, StatefulSet, DaemonSet (Job and CronJob: jobs.py).

Source: Kubernetes API reference (apps/v1, batch/v1); defaults as pkg/apis/apps/v1 and pkg/apis/batch/v1 name them.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from gureum.kube.errors import Cause, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.metadata import validate_labels
from gureum.kube.kinds.pods.checks import validate_template
from gureum.kube.kinds.pods.defaults import default_template
from gureum.kube.kinds.rules import Rules
from gureum.kube.selectors import from_object, matches

Object = dict[str, Any]
IMMUTABLE = "field is immutable"
STATEFUL_TEXT = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_FREE = {
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
}  # fmt: skip
_PERCENT = re.compile(r"\d+%")


# Defaults


def default_template_of(spec: Object) -> None:
    default_template(spec.setdefault("template", {}))


def _controller(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_template_of(spec)
    labels = spec["template"]["metadata"].get("labels") or {}
    if labels:
        spec.setdefault("selector", dict(labels))
        if not one["metadata"].get("labels"):
            one["metadata"]["labels"] = dict(labels)


def _replica_set(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_template_of(spec)


def _deployment(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    default_template_of(spec)


def _stateful_set(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        claim.setdefault("status", {}).setdefault("phase", "Pending")
    default_template_of(spec)


def _daemon_set(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    default_template_of(spec)


# Checks


def not_negative(spec: Object, field: str, *names: str) -> list[Cause]:
    text = "must be greater than or equal to 0"
    return [invalid(f"{field}.{name}", spec[name], text) for name in names if (spec.get(name) or 0) < 0]


def template_of(spec: Object, restarts: tuple[str, ...] = ("Always",)) -> list[Cause]:
    template = spec.get("template") or {}
    claims = [(one.get("metadata") or {}).get("name", "") for one in spec.get("volumeClaimTemplates") or ()]
    causes = validate_template(template, "spec.template", claims)
    restart = (template.get("spec") or {}).get("restartPolicy")
    if restart not in restarts and not any(one.field.endswith("restartPolicy") for one in causes):
        causes.append(unsupported("spec.template.spec.restartPolicy", restart, restarts))
    if restarts == ("Always",) and (template.get("spec") or {}).get("activeDeadlineSeconds"):
        causes.append(
            forbidden_field(
                "spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported"
            )
        )
    return causes


def _selector(spec: Object, kind: str) -> list[Cause]:
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    causes = validate_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [*causes, invalid("spec.selector", selector, f"empty selector is invalid for {kind}")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    found = None if causes else from_object(selector)
    if found is not None and not matches(found, labels):
        causes.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    return causes


def validate_selector(selector: Object, field: str) -> list[Cause]:
    """A label selector (meta/v1 LabelSelector)."""
    causes = validate_labels(f"{field}.matchLabels", selector.get("matchLabels") or {})
    for number, one in enumerate(selector.get("matchExpressions") or ()):
        at, operator, values = f"{field}.matchExpressions[{number}]", one.get("operator", ""), one.get("values")
        if operator in ("In", "NotIn"):
            if not values:
                causes.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                causes.append(
                    forbidden_field(
                        f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    )
                )
        else:
            causes.append(invalid(f"{at}.operator", operator, "not a valid selector operator"))
    return causes


def unchanged(new: Object, old: Object | None, *names: str) -> list[Cause]:
    """Fields of the spec that stay as they were."""
    if old is None:
        return []
    before, after = old.get("spec") or {}, new.get("spec") or {}
    return [
        invalid(f"spec.{name}", after.get(name), IMMUTABLE) for name in names if before.get(name) != after.get(name)
    ]


def _validate_controller(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = not_negative(spec, "spec", "replicas", "minReadySeconds") + template_of(spec)
    selector = spec.get("selector") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector:
        causes.append(required("spec.selector"))
    elif not selector.items() <= labels.items():
        causes.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    return causes


def _validate_replica_set(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = not_negative(spec, "spec", "replicas", "minReadySeconds")
    return causes + _selector(spec, "deployment") + template_of(spec) + unchanged(one, old, "selector")


def _validate_deployment(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = not_negative(
        spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"
    )
    if not any(cause.field == "spec.progressDeadlineSeconds" for cause in causes):
        deadline = spec.get("progressDeadlineSeconds")
        if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
            causes.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        if strategy.get("rollingUpdate") is not None:
            text = "may not be specified when strategy `type` is 'Recreate'"
            causes.append(forbidden_field("spec.strategy.rollingUpdate", text))
    elif strategy.get("type") == "RollingUpdate":
        causes += _rolling(strategy.get("rollingUpdate") or {}, "spec.strategy.rollingUpdate")
    else:
        causes.append(unsupported("spec.strategy.type", strategy.get("type"), ("Recreate", "RollingUpdate")))
    return causes + _selector(spec, "deployment") + template_of(spec) + unchanged(one, old, "selector")


def _rolling(rolling: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("maxUnavailable", "maxSurge"):
        causes += int_or_percent(f"{field}.{name}", rolling.get(name, 0))
    if not causes:
        most = rolling.get("maxUnavailable", 0)
        if _is_zero(most) and _is_zero(rolling.get("maxSurge", 0)):
            causes.append(invalid(f"{field}.maxUnavailable", most, "may not be 0 when `maxSurge` is 0"))
        if isinstance(most, str) and Decimal(most[:-1]) > 100:
            causes.append(invalid(f"{field}.maxUnavailable", most, "must not be greater than 100%"))
    return causes


def _is_zero(value: int | str) -> bool:
    return value in (0, "0%")


def int_or_percent(field: str, value: Any) -> list[Cause]:
    """A count, or a share such as 25%."""
    if isinstance(value, str):
        if _PERCENT.fullmatch(value):
            return []
        text = (
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation "
            "is '[0-9]+%')"
        )
        return [invalid(field, value, text)]
    return (
        [] if isinstance(value, int) and value >= 0 else [invalid(field, value, "must be greater than or equal to 0")]
    )


def _validate_stateful_set(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
    policy, strategy = spec.get("podManagementPolicy"), spec.get("updateStrategy") or {}
    if policy not in ("OrderedReady", "Parallel"):
        causes.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    if strategy.get("type") not in ("RollingUpdate", "OnDelete"):
        causes.append(invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    causes += not_negative(strategy.get("rollingUpdate") or {}, "spec.updateStrategy.rollingUpdate", "partition")
    causes += _selector(spec, "statefulset") + template_of(spec)
    if old is not None:
        before, after = old.get("spec") or {}, spec
        if {**before, **dict.fromkeys(_STATEFUL_FREE)} != {**after, **dict.fromkeys(_STATEFUL_FREE)}:
            causes.append(forbidden_field("spec", STATEFUL_TEXT))
    return causes


def _validate_daemon_set(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "RollingUpdate":
        causes += _rolling(strategy.get("rollingUpdate") or {}, "spec.updateStrategy.rollingUpdate")
    elif strategy.get("type") != "OnDelete":
        causes.append(unsupported("spec.updateStrategy", strategy, ("RollingUpdate", "OnDelete")))
    return causes + _selector(spec, "daemonset") + template_of(spec) + unchanged(one, old, "selector")


def _validate_revision(one: Object, old: Object | None) -> list[Cause]:
    causes = (
        [invalid("revision", one["revision"], "must be greater than or equal to 0")]
        if (one.get("revision") or 0) < 0
        else []
    )
    if old is not None and old.get("data") != one.get("data"):
        causes.append(invalid("data", one.get("data"), IMMUTABLE))
    return causes


def _validate_budget(one: Object, old: Object | None) -> list[Cause]:
    spec = one.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    causes: list[Cause] = []
    if least is not None and most is not None:
        causes.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for name, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            causes += int_or_percent(f"spec.{name}", value)
            if not causes and isinstance(value, str) and Decimal(value[:-1]) > 100:
                causes.append(invalid(f"spec.{name}", value, "must not be greater than 100%"))
    if spec.get("selector"):
        causes += validate_selector(spec["selector"], "spec.selector")
    return causes


RULES = {
    "core/replicationcontrollers": Rules(default=_controller, validate=_validate_controller),
    "apps/replicasets": Rules(default=_replica_set, validate=_validate_replica_set),
    "apps/deployments": Rules(default=_deployment, validate=_validate_deployment),
    "apps/statefulsets": Rules(default=_stateful_set, validate=_validate_stateful_set),
    "apps/daemonsets": Rules(default=_daemon_set, validate=_validate_daemon_set),
    "apps/controllerrevisions": Rules(validate=_validate_revision, generation=False),
    "policy/poddisruptionbudgets": Rules(validate=_validate_budget, conditional=True),
}
