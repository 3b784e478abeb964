"""What runs to an end: Job and CronJob.

Source: Kubernetes, pkg/apis/batch: defaults and validation of v1.
"""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gureum.kube.errors import Cause, invalid, required, shown, unsupported
from gureum.kube.kinds.pods.checks import validate_template
from gureum.kube.kinds.rules import Rules
from gureum.kube.kinds.workloads import default_template_of, not_negative, template_of, unchanged
from gureum.kube.selectors import from_object, matches

Object = dict[str, Any]
CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"


# Defaults


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
    default_template_of(spec)
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
    selector = spec.get("selector") or {}
    spec["selector"] = {**selector, "matchLabels": {CONTROLLER_UID: uid, **(selector.get("matchLabels") or {})}}


def _cron_job(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    job = spec.setdefault("jobTemplate", {})
    job.setdefault("metadata", {})
    default_template_of(job.setdefault("spec", {}))


# Checks


def _validate_job(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = _job_spec(spec, "spec")
    selector = spec.get("selector")
    if not spec.get("manualSelector") and selector and old is None:
        own = {CONTROLLER_UID: one["metadata"].get("uid", ""), JOB_NAME: one["metadata"].get("name", "")}
        if not matches(from_object(selector) or (), own):
            causes.append(invalid("spec.selector", selector, "`selector` not auto-generated"))
    causes += template_of(spec, ("Never", "OnFailure"))
    names = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"]
    if spec.get("completionMode") != "Indexed":
        names.append("completions")
    if not spec.get("suspend"):
        names.append("template")
    return causes + unchanged(one, old, *names)


def _job_spec(spec: Object, field: str) -> list[Cause]:
    names = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    causes = not_negative(spec, field, *names)
    mode = spec.get("completionMode", "NonIndexed")
    if mode not in ("NonIndexed", "Indexed"):
        causes.append(unsupported(f"{field}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed" and spec.get("completions") is None:
        causes.append(required(f"{field}.completions", "when completion mode is Indexed"))
    causes += not_negative(spec, field, "backoffLimitPerIndex", "maxFailedIndexes")
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
    causes += not_negative(
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


RULES = {
    "batch/jobs": Rules(default=_job, create=_create_job, validate=_validate_job),
    "batch/cronjobs": Rules(default=_cron_job, validate=_validate_cron_job),
}
