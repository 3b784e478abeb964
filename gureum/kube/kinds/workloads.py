"""What makes pods: ReplicationController, ReplicaSet, Deployment, StatefulSet, DaemonSet, Job, CronJob.

Source: Kubernetes API reference (apps/v1, batch/v1); defaults as pkg/apis/apps/v1 and pkg/apis/batch/v1 name them.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gureum.kube.errors import Cause, forbidden_field, invalid, required, shown, unsupported
from gureum.kube.kinds.metadata import validate_labels
from gureum.kube.kinds.pods import default_template, validate_template
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
CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"


# Defaults


def _template(spec: Object) -> None:
    default_template(spec.setdefault("template", {}))


def _controller(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)
    labels = spec["template"]["metadata"].get("labels") or {}
    if labels:
        spec.setdefault("selector", dict(labels))
        if not one["metadata"].get("labels"):
            one["metadata"]["labels"] = dict(labels)


def _replica_set(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)


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
    _template(spec)


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
    _template(spec)


def _daemon_set(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    _template(spec)


def _job(one: Object) -> None:
    spec = one.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    if spec.get("parallelism") is None:
        spec["parallelism"] = 1
    spec.setdefault("backoffLimit", 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            condition.setdefault("status", "True")
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    _template(spec)
    labels = spec["template"]["metadata"].get("labels")
    if labels and not one["metadata"].get("labels"):
        one["metadata"]["labels"] = dict(labels)


def _create_job(one: Object) -> None:
    """A job finds its pods by its own uid, unless it says otherwise."""
    spec, uid = one.setdefault("spec", {}), one["metadata"].get("uid", "")
    if spec.get("manualSelector"):
        return
    labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    name = one["metadata"].get("name", "")
    for key, value in (("controller-uid", uid), (CONTROLLER_UID, uid), ("job-name", name), (JOB_NAME, name)):
        labels[key] = value
    spec["selector"] = {"matchLabels": {CONTROLLER_UID: uid}}


def _cron_job(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    job = spec.setdefault("jobTemplate", {})
    job.setdefault("metadata", {})
    _template(job.setdefault("spec", {}))


# Checks


def _not_negative(spec: Object, field: str, *names: str) -> list[Cause]:
    text = "must be greater than or equal to 0"
    return [invalid(f"{field}.{name}", spec[name], text) for name in names if (spec.get(name) or 0) < 0]


def _template_of(spec: Object, restarts: tuple[str, ...] = ("Always",)) -> list[Cause]:
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


def _unchanged(new: Object, old: Object | None, *names: str) -> list[Cause]:
    """Fields of the spec that stay as they were."""
    if old is None:
        return []
    before, after = old.get("spec") or {}, new.get("spec") or {}
    return [
        invalid(f"spec.{name}", after.get(name), IMMUTABLE) for name in names if before.get(name) != after.get(name)
    ]


def _validate_controller(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = _not_negative(spec, "spec", "replicas", "minReadySeconds") + _template_of(spec)
    selector = spec.get("selector") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector:
        causes.append(required("spec.selector"))
    elif not selector.items() <= labels.items():
        causes.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    return causes


def _validate_replica_set(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = _not_negative(spec, "spec", "replicas", "minReadySeconds")
    return causes + _selector(spec, "deployment") + _template_of(spec) + _unchanged(one, old, "selector")


def _validate_deployment(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = _not_negative(
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
    return causes + _selector(spec, "deployment") + _template_of(spec) + _unchanged(one, old, "selector")


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
    causes = _not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
    policy, strategy = spec.get("podManagementPolicy"), spec.get("updateStrategy") or {}
    if policy not in ("OrderedReady", "Parallel"):
        causes.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    if strategy.get("type") not in ("RollingUpdate", "OnDelete"):
        causes.append(invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    causes += _not_negative(strategy.get("rollingUpdate") or {}, "spec.updateStrategy.rollingUpdate", "partition")
    causes += _selector(spec, "statefulset") + _template_of(spec)
    if old is not None:
        before, after = old.get("spec") or {}, spec
        if {**before, **dict.fromkeys(_STATEFUL_FREE)} != {**after, **dict.fromkeys(_STATEFUL_FREE)}:
            causes.append(forbidden_field("spec", STATEFUL_TEXT))
    return causes


def _validate_daemon_set(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = _not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "RollingUpdate":
        causes += _rolling(strategy.get("rollingUpdate") or {}, "spec.updateStrategy.rollingUpdate")
    elif strategy.get("type") != "OnDelete":
        causes.append(unsupported("spec.updateStrategy", strategy, ("RollingUpdate", "OnDelete")))
    return causes + _selector(spec, "daemonset") + _template_of(spec) + _unchanged(one, old, "selector")


def _validate_job(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = _job_spec(spec, "spec")
    selector = spec.get("selector")
    if not spec.get("manualSelector") and selector and old is None:
        uid = one["metadata"].get("uid")
        if selector.get("matchLabels", {}).get(CONTROLLER_UID) != uid:
            causes.append(invalid("spec.selector", selector, "`selector` not auto-generated"))
    causes += _template_of(spec, ("Never", "OnFailure"))
    names = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"]
    if spec.get("completionMode") != "Indexed":
        names.append("completions")
    if not spec.get("suspend"):
        names.append("template")
    return causes + _unchanged(one, old, *names)


def _job_spec(spec: Object, field: str) -> list[Cause]:
    names = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    causes = _not_negative(spec, field, *names)
    mode = spec.get("completionMode", "NonIndexed")
    if mode not in ("NonIndexed", "Indexed"):
        causes.append(unsupported(f"{field}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed" and spec.get("completions") is None:
        causes.append(required(f"{field}.completions", "when completion mode is Indexed"))
    causes += _not_negative(spec, field, "backoffLimitPerIndex", "maxFailedIndexes")
    if mode != "Indexed":
        for name in ("backoffLimitPerIndex", "successPolicy"):
            if spec.get(name) is not None:
                causes.append(invalid(f"{field}.{name}", spec[name], "requires indexed completion mode"))
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        causes.append(required(f"{field}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("successPolicy") is not None and not spec["successPolicy"].get("rules"):
        text = "at least one rules must be specified when the successPolicy is specified"
        causes.append(required(f"{field}.successPolicy.rules", text))
    return causes + _failure_policy(spec, field)


def _failure_policy(spec: Object, field: str) -> list[Cause]:
    if spec.get("podFailurePolicy") is None:
        return []
    causes: list[Cause] = []
    restart = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if restart != "Never":
        text = 'only "Never" is supported when podFailurePolicy is specified'
        causes.append(invalid(f"{field}.template.spec.restartPolicy", restart, text))
    actions = ("Count", "FailIndex", "FailJob", "Ignore")
    for number, rule in enumerate(spec["podFailurePolicy"].get("rules") or ()):
        at, action = f"{field}.podFailurePolicy.rules[{number}]", rule.get("action")
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if not action:
            causes.append(required(f"{at}.action", "valid values: [Count FailIndex FailJob Ignore]"))
        elif action not in actions:
            causes.append(unsupported(f"{at}.action", action, actions))
        elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            causes.append(invalid(f"{at}.action", action, "requires the backoffLimitPerIndex to be set"))
        if codes and conditions:
            causes.append(invalid(at, "", "specifying both OnExitCodes and OnPodConditions is not supported"))
        elif not codes and not conditions:
            causes.append(invalid(at, "", "specifying one of OnExitCodes and OnPodConditions is required"))
        elif codes and codes.get("operator") not in ("In", "NotIn"):
            causes.append(unsupported(f"{at}.onExitCodes.operator", codes.get("operator", ""), ("In", "NotIn")))
    return causes


def _validate_cron_job(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    schedule, policy = spec.get("schedule", ""), spec.get("concurrencyPolicy")
    causes: list[Cause] = []
    if not schedule:
        causes.append(required("spec.schedule"))
    else:
        causes += _schedule(schedule)
    causes += _time_zone(spec.get("timeZone"))
    if policy not in ("Allow", "Forbid", "Replace"):
        causes.append(unsupported("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace")))
    causes += _not_negative(
        spec, "spec", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"
    )
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    template = job.get("template") or {}
    causes += _job_spec(job, "spec.jobTemplate.spec") + validate_template(template, "spec.jobTemplate.spec.template")
    restart = (template.get("spec") or {}).get("restartPolicy")
    if restart == "Always":
        causes.append(unsupported("spec.jobTemplate.spec.template.spec.restartPolicy", restart, ("Never", "OnFailure")))
    if len(one["metadata"].get("name", "")) > 52:
        causes.append(invalid("metadata.name", one["metadata"]["name"], "must be no more than 52 characters"))
    return causes


def _time_zone(name: str | None) -> list[Cause]:
    if name is None:
        return []
    if not name:
        return [invalid("spec.timeZone", name, "timeZone must be nil or non-empty string")]
    if name.lower() == "local":
        return [
            invalid(
                "spec.timeZone",
                name,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            )
        ]
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return [invalid("spec.timeZone", name, f"unknown time zone {name}")]
    return []


_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "day": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def _schedule(text: str) -> list[Cause]:
    if "TZ" in text:
        tz = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return [invalid("spec.schedule", text, tz)]
    if text in _MACROS or re.fullmatch(r"@every (\d+(\.\d+)?(ns|us|ms|s|m|h))+", text):
        return []
    parts = text.split()
    if len(parts) != 5:
        return [invalid("spec.schedule", text, f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")]
    for part, (name, least, most) in zip(parts, _FIELDS, strict=True):
        for one in part.split(","):
            wrong = _field_error(one, name, least, most)
            if wrong:
                return [invalid("spec.schedule", text, wrong)]
    return []


def _field_error(text: str, name: str, least: int, most: int) -> str:
    body, slash, step = text.partition("/")
    if slash and (not step.isascii() or not step.isdigit() or int(step) == 0):
        return f"failed to parse int from {step}: strconv.Atoi: parsing {shown(step)}: invalid syntax"
    if body in ("*", "?"):
        return ""
    numbers = []
    for part in body.split("-", 1):
        names = _NAMES["month"] if name == "month" else _NAMES["day"] if name == "day of week" else ()
        if part.lower() in names:
            numbers.append(names.index(part.lower()) + (1 if name == "month" else 0))
        elif part.isascii() and part.isdigit():
            numbers.append(int(part))
        else:
            return f"failed to parse int from {part}: strconv.Atoi: parsing {shown(part)}: invalid syntax"
    if min(numbers) < least:
        return f"beginning of range ({min(numbers)}) below minimum ({least}): {text}"
    if max(numbers) > most:
        return f"end of range ({max(numbers)}) above maximum ({most}): {text}"
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[1]}): {text}"
    return ""


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
    "batch/jobs": Rules(default=_job, create=_create_job, validate=_validate_job),
    "batch/cronjobs": Rules(default=_cron_job, validate=_validate_cron_job),
    "policy/poddisruptionbudgets": Rules(validate=_validate_budget, conditional=True),
}
