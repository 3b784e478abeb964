"""Who asks for certificates, who may approve and who may sign them (CertificateApproval, CertificateSigning, CertificateSubjectRestriction).

A request says by itself who made it. Approving and signing want the verbs `approve` and `sign` on the signer besides the subresource, and each may
change its own part of the status only.
"""

from __future__ import annotations

from typing import Any

from cryptography.x509.oid import NameOID

from gureum.kube.access.rbac import MASTERS, Act, Rbac
from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.errors import Cause, forbidden, forbidden_field, invalid, invalid_object
from gureum.kube.kinds.certificates import API_CLIENT, REQUESTS, names_of, request_of
from gureum.kube.requests import User
from gureum.kube.times import timestamp
from gureum.ports.clock import Clock

Object = dict[str, Any]
_DECISIONS = ("Approved", "Denied")


def certificates(rbac: Rbac, clock: Clock) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        if attributes.old is None:
            _sign_in(attributes)
        elif attributes.subresource:
            _judge(rbac, attributes, attributes.old, timestamp(clock.now()))
        return None

    return Plugin(admit, frozenset({REQUESTS}), frozenset({"CREATE", "UPDATE"}), parts=True)


def _sign_in(attributes: Attributes) -> None:
    """Writes down who asks. Nobody becomes a master by a certificate."""
    spec, user = attributes.obj.setdefault("spec", {}), attributes.request.user
    for name in ("username", "uid", "groups", "extra"):
        spec.pop(name, None)
    spec |= {"username": user.name, "groups": list(user.groups)}
    spec |= {"uid": user.uid} if user.uid else {}
    spec |= {"extra": user.extra} if user.extra else {}
    if spec.get("signerName") != API_CLIENT:
        return
    try:
        organizations = names_of(request_of(attributes.obj), NameOID.ORGANIZATION_NAME)
    except ValueError:
        return  # the checks say so
    if MASTERS in organizations:
        text = f"use of {API_CLIENT} signer with {MASTERS} group is not allowed"
        raise forbidden(attributes.target.kind, attributes.obj["metadata"].get("name", ""), text)


def _judge(rbac: Rbac, attributes: Attributes, old: Object, now: str) -> None:
    obj, name = attributes.obj, attributes.target.name
    signer = str((old.get("spec") or {}).get("signerName", ""))
    before, after = old.get("status") or {}, obj.get("status") or {}
    approval = attributes.subresource == "approval"
    signed = after.get("certificate") != before.get("certificate")
    if approval and not _may(rbac, attributes.request.user, "approve", signer):
        text = f'user not permitted to approve requests with signerName "{signer}"'
        raise forbidden(attributes.target.kind, name, text)
    failed = _of(after, "Failed") != _of(before, "Failed")
    if not approval and (signed or failed) and not _may(rbac, attributes.request.user, "sign", signer):
        text = f'user not permitted to sign requests with signerName "{signer}"'
        raise forbidden(attributes.target.kind, name, text)
    causes = _conditions(before, after, approval)
    if signed and approval:
        causes.append(forbidden_field("status.certificate", "updates may not set certificate content"))
    elif signed and before.get("certificate"):
        causes.append(forbidden_field("status.certificate", "updates may not modify existing certificate content"))
    if causes:
        raise invalid_object(attributes.target.kind, name, causes)
    if after.get("conditions"):
        dated = [{"lastUpdateTime": now, "lastTransitionTime": now} | one for one in after["conditions"]]
        obj["status"] = {**after, "conditions": dated}


def _conditions(before: Object, after: Object, approval: bool) -> list[Cause]:
    field = "status.conditions"
    causes: list[Cause] = []
    for kind in (*_DECISIONS, "Failed"):
        known, wanted = _of(before, kind), _of(after, kind)
        if len(wanted) < len(known):
            causes.append(forbidden_field(field, f'updates may not remove a condition of type "{kind}"'))
        elif kind in _DECISIONS and not approval and len(wanted) > len(known):
            causes.append(forbidden_field(field, f'updates may not add a condition of type "{kind}"'))
        elif kind in _DECISIONS and not approval and wanted != known:
            causes.append(forbidden_field(field, f'updates may not modify a condition of type "{kind}"'))
    if all(_of(after, kind) for kind in _DECISIONS):
        number = max(n for n, one in enumerate(after["conditions"]) if one.get("type") in _DECISIONS)
        kind, text = after["conditions"][number]["type"], "Approved and Denied conditions are mutually exclusive"
        causes.append(invalid(f"{field}[{number}].type", kind, text))
    return causes


def _of(status: Object, kind: str) -> list[Object]:
    return [one for one in status.get("conditions") or () if one.get("type") == kind]


def _may(rbac: Rbac, user: User, verb: str, signer: str) -> bool:
    """By the signer's name, or by its domain ("example.com/*")."""
    names = (signer, f"{signer.partition('/')[0]}/*")
    return any(rbac.allows(user, Act(verb, "certificates.k8s.io", "signers", "", "", name)) for name in names)
