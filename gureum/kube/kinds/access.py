"""Who may do what (RBAC), and who is asked before (admission webhooks).

Source: Kubernetes API reference (rbac.authorization.k8s.io/v1, admissionregistration.k8s.io/v1).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gureum.kube.errors import Cause, invalid, required, unsupported
from gureum.kube.kinds.rules import Rules

Object = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"


def _binding(one: Object) -> None:
    reference = one.setdefault("roleRef", {})
    reference["apiGroup"] = reference.get("apiGroup") or GROUP
    for subject in one.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = subject.get("apiGroup") or GROUP


def _validate_role(one: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    cluster = one.get("kind") == "ClusterRole"
    for number, rule in enumerate(one.get("rules") or ()):
        at = f"rules[{number}]"
        if not rule.get("verbs"):
            causes.append(required(f"{at}.verbs", "verbs must contain at least one value"))
        paths = rule.get("nonResourceURLs")
        if paths:
            if not cluster:
                text = "namespaced rules cannot apply to non-resource URLs"
                causes.append(invalid(f"{at}.nonResourceURLs", paths, text))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                causes.append(invalid(f"{at}.nonResourceURLs", paths, text))
        else:
            if not rule.get("apiGroups"):
                causes.append(required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
            if not rule.get("resources"):
                causes.append(required(f"{at}.resources", "resource rules must supply at least one resource"))
    return causes


def _validate_binding(one: Object, old: Object | None) -> list[Cause]:
    reference = one["roleRef"]
    causes: list[Cause] = []
    kinds = ("ClusterRole", "Role") if one.get("kind") == "RoleBinding" else ("ClusterRole",)
    if reference.get("apiGroup") != GROUP:
        causes.append(unsupported("roleRef.apiGroup", reference.get("apiGroup"), (GROUP,)))
    if reference.get("kind") not in kinds:
        causes.append(unsupported("roleRef.kind", reference.get("kind", ""), kinds))
    if not reference.get("name"):
        causes.append(required("roleRef.name"))
    for number, subject in enumerate(one.get("subjects") or ()):
        causes += _subject(subject, f"subjects[{number}]")
    if old is not None and old.get("roleRef") != reference:
        causes.append(invalid("roleRef", reference, "cannot change roleRef"))
    return causes


def _subject(subject: Object, at: str) -> list[Cause]:
    causes = [] if subject.get("name") else [required(f"{at}.name")]
    kind = subject.get("kind")
    if kind == "ServiceAccount":
        if not subject.get("namespace"):
            causes.append(required(f"{at}.namespace"))
        if subject.get("apiGroup"):
            causes.append(unsupported(f"{at}.apiGroup", subject["apiGroup"], ("",)))
    elif kind in ("User", "Group"):
        if subject.get("apiGroup") != GROUP:
            causes.append(unsupported(f"{at}.apiGroup", subject.get("apiGroup"), (GROUP,)))
    else:
        causes.append(unsupported(f"{at}.kind", kind, ("ServiceAccount", "User", "Group")))
    return causes


def _webhooks(one: Object) -> None:
    for hook in one.get("webhooks") or ():
        hook.setdefault("failurePolicy", "Fail")
        hook.setdefault("matchPolicy", "Equivalent")
        hook.setdefault("timeoutSeconds", 10)
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        if one.get("kind") == "MutatingWebhookConfiguration":
            hook.setdefault("reinvocationPolicy", "Never")
        service = (hook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)
        for rule in hook.get("rules") or ():
            rule.setdefault("scope", "*")


def _webhook_url(url: str, field: str) -> list[Cause]:
    """Source: k8s.io/apiserver/pkg/util/webhook (ValidateWebhookURL)."""
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        _ = parts.port  # which is read late
    except ValueError as error:
        return [required(field, f"url must be a valid URL: {error}{form}")]
    causes: list[Cause] = []
    if parts.scheme != "https":
        causes.append(invalid(field, parts.scheme, f"'https' is the only allowed URL scheme{form}"))
    if not parts.hostname:
        causes.append(invalid(field, "", f"host must be specified{form}"))
    for name, value, what in (
        ("username", parts.netloc.rpartition("@")[0], "user information is"),
        ("fragment", parts.fragment, "fragments are"),
        ("query", parts.query, "query parameters are"),
    ):
        if getattr(parts, name):
            causes.append(invalid(field, value, f"{what} not permitted in the URL"))
    return causes


def _validate_webhooks(one: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    for number, hook in enumerate(one.get("webhooks") or ()):
        at, client = f"webhooks[{number}]", hook.get("clientConfig") or {}
        if hook.get("name", "").count(".") < 2:
            text = "should be a domain with at least three segments separated by dots"
            causes.append(invalid(f"{at}.name", hook.get("name", ""), text))
        if bool(client.get("url")) == bool(client.get("service")):
            causes.append(required(f"{at}.clientConfig", "exactly one of url or service is required"))
        elif client.get("url"):
            causes += _webhook_url(client["url"], f"{at}.clientConfig.url")
        if hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            causes.append(unsupported(f"{at}.sideEffects", hook.get("sideEffects"), ("None", "NoneOnDryRun")))
        if not hook.get("admissionReviewVersions"):
            causes.append(required(f"{at}.admissionReviewVersions", "must specify one of v1, v1beta1"))
        elif not {"v1", "v1beta1"} & set(hook["admissionReviewVersions"]):
            text = "must include at least one of v1, v1beta1"
            causes.append(invalid(f"{at}.admissionReviewVersions", hook["admissionReviewVersions"], text))
        if not 1 <= hook.get("timeoutSeconds", 10) <= 30:
            causes.append(
                invalid(f"{at}.timeoutSeconds", hook["timeoutSeconds"], "must be between 1 and 30, inclusive")
            )
        if hook.get("failurePolicy") not in ("Fail", "Ignore"):
            causes.append(unsupported(f"{at}.failurePolicy", hook.get("failurePolicy"), ("Fail", "Ignore")))
    return causes


RULES = {
    f"{GROUP}/roles": Rules(validate=_validate_role, generation=False),
    f"{GROUP}/clusterroles": Rules(validate=_validate_role, generation=False),
    f"{GROUP}/rolebindings": Rules(default=_binding, validate=_validate_binding, generation=False),
    f"{GROUP}/clusterrolebindings": Rules(default=_binding, validate=_validate_binding, generation=False),
    "admissionregistration.k8s.io/mutatingwebhookconfigurations": Rules(
        default=_webhooks, validate=_validate_webhooks, conditional=True
    ),
    "admissionregistration.k8s.io/validatingwebhookconfigurations": Rules(
        default=_webhooks, validate=_validate_webhooks, conditional=True
    ),
}
