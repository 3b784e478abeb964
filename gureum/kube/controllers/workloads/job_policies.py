"""What a job's policies say of its pods' ends: which failures count, which index has failed for good, when enough has succeeded.

Pure. Source: Kubernetes, "Jobs" (pod failure policy, backoff limit per index, success policy);
k8s.io/kubernetes/pkg/controller/job (pod_failure_policy.go, backoff_utils.go, success_policy.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from gureum.base.numerals import natural
from gureum.kube.objects import Object

FAILURES = "batch.kubernetes.io/job-index-failure-count"
COUNT, IGNORE, FAIL_INDEX, FAIL_JOB = "Count", "Ignore", "FailIndex", "FailJob"


class Judged(NamedTuple):
    """`message`: why the job fails, with FailJob."""

    action: str
    message: str = ""


def judge(spec: Object, pod: Object) -> Judged:
    """A failed pod before the job's podFailurePolicy: the first rule that fits counts."""
    for at, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        action = rule.get("action", COUNT)
        said = _exit_said(rule, pod) if rule.get("onExitCodes") else _condition_said(rule, pod)
        if said:
            return Judged(action, f"{said} matching {action} rule at index {at}" if action == FAIL_JOB else "")
    return Judged(COUNT)


def _exit_said(rule: Object, pod: Object) -> str:
    wished = rule["onExitCodes"]
    values = wished.get("values") or ()
    for name, code in _exits(pod):
        if wished.get("containerName") in (None, name) and (code in values) == (wished.get("operator") == "In"):
            place = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            return f"Container {name} for pod {place} failed with exit code {code}"
    return ""


def _exits(pod: Object) -> Iterator[tuple[str, int]]:
    """Containers that ended otherwise than well."""
    status = pod.get("status") or {}
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        code = ((one.get("state") or {}).get("terminated") or {}).get("exitCode")
        if code:
            yield one.get("name", ""), code


def _condition_said(rule: Object, pod: Object) -> str:
    found = {one.get("type"): one.get("status") for one in (pod.get("status") or {}).get("conditions") or ()}
    for wished in rule.get("onPodConditions") or ():
        if found.get(wished.get("type")) == wished.get("status", "True"):
            place = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            return f"Pod {place} has condition {wished.get('type')}"
    return ""


def failures(pod: Object) -> int:
    """How often its index had failed before it."""
    text = (pod["metadata"].get("annotations") or {}).get(FAILURES, "")
    return natural(text) or 0


def ends_index(spec: Object, pod: Object, judged: Judged) -> bool:
    """Whether the failure of this pod is the last that its index may have."""
    limit = spec.get("backoffLimitPerIndex")
    if limit is None or judged.action == IGNORE:
        return False
    return judged.action == FAIL_INDEX or failures(pod) + 1 > int(limit)


def failed_by_indexes(spec: Object, succeeded: int, failed: int) -> tuple[str, str] | None:
    """Reason and message when too many indexes have failed, or none is left. `succeeded`, `failed`: numbers of indexes."""
    most = spec.get("maxFailedIndexes")
    if most is not None and failed > int(most):
        return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    if failed and succeeded + failed >= int(spec.get("completions") or 0):
        return "FailedIndexes", "Job has failed indexes"
    return None


def success_rule(spec: Object, succeeded: set[int], numbers: Any) -> int | None:
    """Which rule of the successPolicy is met. `numbers`: parses `1,3-5`."""
    for at, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
        wished = numbers(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None
        found = succeeded if wished is None else succeeded & wished
        count = rule.get("succeededCount")
        if len(found) >= int(count) if count is not None else wished is not None and wished <= succeeded:
            return at
    return None
