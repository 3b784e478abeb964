"""What makes pods: Deployment, ReplicaSet, ReplicationController, StatefulSet, DaemonSet, Job, CronJob. Defaults, checks, what may not change.

Source: Kubernetes API reference, apps/v1 and batch/v1; k8s.io/kubernetes/pkg/apis/{apps,batch}.
"""

from __future__ import annotations

import re
from typing import Any

from gureum.kube.errors import Cause, forbidden_field, invalid, required, shown, unsupported
from gureum.kube.kinds.pods import default_template, validate_template
from gureum.kube.kinds.rules import Rules
from gureum.kube.selectors import from_object, matches

Object = dict[str, Any]
_PERCENT = re.compile(r"^[0-9]+%$")
IMMUTABLE = "field is immutable"


def _spec(obj: Object) -> Object:
    spec: Object = obj.setdefault("spec", {})
    if spec.get("template") is not None:
        default_template(spec["template"])
    return spec


def default_deployment(obj: Object) -> None:
    spec = _spec(obj)
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def default_replica_set(obj: Object) -> None:
    _spec(obj).setdefault("replicas", 1)


def default_replication_controller(obj: Object) -> None:
    spec = _spec(obj)
    spec.setdefault("replicas", 1)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not spec.get("selector"):
        spec["selector"] = dict(labels)
    if not obj["metadata"].get("labels") and labels:
        obj["metadata"]["labels"] = dict(labels)


def default_stateful_set(obj: Object) -> None:
    spec = _spec(obj)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    policy = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    policy.setdefault("whenDeleted", "Retain")
    policy.setdefault("whenScaled", "Retain")
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        claim.setdefault("status", {}).setdefault("phase", "Pending")


def default_daemon_set(obj: Object) -> None:
    spec = _spec(obj)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)


def default_job(obj: Object) -> None:
    _default_job_spec(_spec(obj))


def _default_job_spec(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    if not spec["manualSelector"]:
        del spec["manualSelector"]
    failed = spec.get("podFailurePolicy") is not None
    spec.setdefault("podReplacementPolicy", "Failed" if failed else "TerminatingOrFailed")


def create_job(obj: Object) -> None:
    """A job selects its pods by its own uid."""
    spec = obj.setdefault("spec", {})
    if spec.get("manualSelector"):
        return
    name, uid = obj["metadata"].get("name", ""), obj["metadata"]["uid"]
    template = spec.setdefault("template", {})
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels |= {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    if not spec.get("selector"):
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def default_cron_job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.get("jobTemplate")
    if template and template.get("spec", {}).get("template"):
        default_template(template["spec"]["template"])


# Checks


def validate_deployment(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _validate_set(spec, old)
    strategy = spec.get("strategy") or {}
    kind = strategy.get("type")
    if kind not in ("Recreate", "RollingUpdate"):
        causes.append(unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate")))
    elif kind == "Recreate" and strategy.get("rollingUpdate"):
        text = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(forbidden_field("spec.strategy.rollingUpdate", text))
    elif kind == "RollingUpdate":
        rolling = strategy.get("rollingUpdate") or {}
        for name in ("maxUnavailable", "maxSurge"):
            causes += _share(f"spec.strategy.rollingUpdate.{name}", rolling.get(name))
        if all(str(rolling.get(name)) in ("0", "0%") for name in ("maxUnavailable", "maxSurge")):
            text = "may not be 0 when `maxSurge` is 0"
            causes.append(invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], text))
    for name in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        causes += _not_negative(f"spec.{name}", spec.get(name))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and 0 <= deadline <= (spec.get("minReadySeconds") or 0):
        causes.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return causes


def validate_replica_set(obj: Object, old: Object | None) -> list[Cause]:
    return _validate_set(obj.get("spec") or {}, old)


def validate_replication_controller(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _not_negative("spec.replicas", spec.get("replicas"))
    return causes + validate_template("spec.template", spec.get("template"))


def validate_stateful_set(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _validate_set(spec, None)
    if spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        causes.append(
            unsupported("spec.podManagementPolicy", spec.get("podManagementPolicy"), ("OrderedReady", "Parallel"))
        )
    if old is not None:
        changeable = (
            "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        )  # fmt: skip
        before = old.get("spec") or {}
        if any(spec.get(name) != before.get(name) for name in {*spec, *before} - {*changeable}):
            names = (
                "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
                "'minReadySeconds'"
            )
            causes.append(
                forbidden_field("spec", f"updates to statefulset spec for fields other than {names} are forbidden")
            )
    return causes


def validate_daemon_set(obj: Object, old: Object | None) -> list[Cause]:
    return _validate_set(obj.get("spec") or {}, old)


def validate_job(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    for name in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        causes += _not_negative(f"spec.{name}", spec.get(name))
    causes += validate_template("spec.template", spec.get("template"), ("OnFailure", "Never"))
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy == "Always":
        causes = [one for one in causes if one.field != "spec.template.spec.restartPolicy"]
        causes.append(
            Cause(
                "FieldValueRequired",
                "spec.template.spec.restartPolicy",
                'Required value: valid values: "OnFailure", "Never"',
            )
        )
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        causes.append(required("spec.completions", "when completion mode is Indexed"))
    if old is not None:
        before = old.get("spec") or {}
        names = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"]
        names += ["template"] if not before.get("suspend") else []
        names += ["completions"] if spec.get("completionMode") != "Indexed" else []
        causes += [
            invalid(f"spec.{name}", spec.get(name), IMMUTABLE) for name in names if spec.get(name) != before.get(name)
        ]
    return causes


def validate_cron_job(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = []
    if not spec.get("schedule"):
        causes.append(required("spec.schedule"))
    elif not is_schedule(spec["schedule"]):
        causes.append(invalid("spec.schedule", spec["schedule"], "expected exactly 5 fields, found other values"))
    choices = ("Allow", "Forbid", "Replace")
    if spec.get("concurrencyPolicy") not in choices:
        causes.append(unsupported("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), choices))
    if len(obj["metadata"].get("name", "")) > 52:
        causes.append(invalid("metadata.name", obj["metadata"]["name"], "must be no more than 52 characters"))
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template")
    return causes + validate_template("spec.jobTemplate.spec.template", template, ("OnFailure", "Never"))


_CRON = re.compile(r"^@(every .+|yearly|annually|monthly|weekly|daily|midnight|hourly)$|^(\S+\s+){4}\S+$")


def is_schedule(text: str) -> bool:
    return bool(_CRON.match(text.strip()))


def _validate_set(spec: Object, old: Object | None) -> list[Cause]:
    causes = _not_negative("spec.replicas", spec.get("replicas"))
    selector = spec.get("selector")
    if not selector:
        causes.append(required("spec.selector"))
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        causes.append(invalid("spec.selector", selector, "empty selector is invalid for deployment"))
    causes += validate_template("spec.template", spec.get("template"))
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    parsed = from_object(selector) if selector else None
    if parsed and not matches(parsed, labels):
        text = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", labels, text))
    if old is not None and (old.get("spec") or {}).get("selector") != selector:
        causes.append(Cause("FieldValueInvalid", "spec.selector", f"Invalid value: {shown(selector)}: {IMMUTABLE}"))
    return causes


def _not_negative(field: str, value: Any) -> list[Cause]:
    if isinstance(value, int) and value < 0:
        return [invalid(field, value, "must be greater than or equal to 0")]
    return []


def _share(field: str, value: Any) -> list[Cause]:
    if isinstance(value, int):
        return _not_negative(field, value)
    if isinstance(value, str) and not _PERCENT.match(value):
        text = (
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is "
            "'[0-9]+%')"
        )
        return [invalid(field, value, text)]
    return []


DEPLOYMENT = Rules(default=default_deployment, validate=validate_deployment)
REPLICA_SET = Rules(default=default_replica_set, validate=validate_replica_set)
REPLICATION_CONTROLLER = Rules(default=default_replication_controller, validate=validate_replication_controller)
STATEFUL_SET = Rules(default=default_stateful_set, validate=validate_stateful_set)
DAEMON_SET = Rules(default=default_daemon_set, validate=validate_daemon_set)
JOB = Rules(default=default_job, create=create_job, validate=validate_job)
CRON_JOB = Rules(default=default_cron_job, validate=validate_cron_job)
