"""Certificate requests: nodes' own are approved, what is approved is signed by the cluster's authority, what is done with goes after a while.

Source: Kubernetes, "Certificates and Certificate Signing Requests"; the controllers csrapproving, csrsigning and csrcleaner.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from gureum.kube.access.rbac import Act, Rbac
from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Controller, itself
from gureum.kube.kinds.certificates import KUBELET_CLIENT, REQUESTS, SIGNERS, names_of, objection, request_of, usages_of
from gureum.kube.objects import Object
from gureum.kube.requests import User

NAME = "certificate-controller"
Sign = Callable[[x509.CertificateSigningRequest, set[str], int], bytes]
"""(request, usages, seconds) to the certificate, PEM."""
LONGEST_S = 365 * 24 * 3600
_KEPT_S = {"Approved": 3600.0, "Denied": 3600.0, "Pending": 24 * 3600.0}


def controller(sign: Sign, rbac: Rbac) -> Controller:
    async def reconcile(client: Client, key: str) -> float | None:
        name = key.removeprefix("/")
        one = client.get(REQUESTS, "", name)
        if one is None or one["metadata"].get("deletionTimestamp"):
            return None
        states = {each.get("type") for each in (one.get("status") or {}).get("conditions") or ()}
        if not states & {"Approved", "Denied"} and _approves(rbac, one):
            text = "Auto approving kubelet client certificate after SubjectAccessReview."
            await client.update(
                REQUESTS, "", name, lambda obj: _with(obj, "Approved", "AutoApproved", text), NAME, "approval"
            )
            return None
        signed = (one.get("status") or {}).get("certificate")
        if "Approved" in states and not signed and "Failed" not in states and one["spec"]["signerName"] in SIGNERS:
            await client.update(REQUESTS, "", name, lambda obj: _signed(sign, obj), NAME, "status")
            return None
        left = _left_s(client.clock.now(), one)
        if left > 0:
            return left
        await client.delete(REQUESTS, "", name, NAME, uid=one["metadata"]["uid"])
        return None

    return Controller("certificates", {REQUESTS: itself}, reconcile)


def _approves(rbac: Rbac, one: Object) -> bool:
    """Whether the request is a node's for its own certificate, by who may ask for one."""
    spec = one["spec"]
    if spec.get("signerName") != KUBELET_CLIENT or objection(one):
        return False
    user = User(spec.get("username", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""))
    own = names_of(request_of(one), NameOID.COMMON_NAME) == [user.name]
    ways = ["nodeclient", *(["selfnodeclient"] if own else [])]
    group = "certificates.k8s.io"
    return any(rbac.allows(user, Act("create", group, "certificatesigningrequests", way)) for way in ways)


def _with(one: Object, kind: str, reason: str, message: str) -> Object:
    status: dict[str, Any] = one.get("status") or {}
    condition = {"type": kind, "status": "True", "reason": reason, "message": message}
    return {**one, "status": {**status, "conditions": [*(status.get("conditions") or ()), condition]}}


def _signed(sign: Sign, one: Object) -> Object:
    text = objection(one)
    if text:
        return _with(one, "Failed", "SignerValidationFailure", text)
    seconds = min(int(one["spec"].get("expirationSeconds") or LONGEST_S), LONGEST_S)
    certificate = sign(request_of(one), usages_of(one), seconds)
    return {**one, "status": {**(one.get("status") or {}), "certificate": base64.b64encode(certificate).decode()}}


def _left_s(now: float, one: Object) -> float:
    """For how long the request stays."""
    since = one["metadata"]["creationTimestamp"]
    kept = _KEPT_S["Pending"]
    for each in (one.get("status") or {}).get("conditions") or ():
        if each.get("type") in _KEPT_S:
            kept = _KEPT_S[each["type"]]
            with contextlib.suppress(ValueError, TypeError):  # who decides may write anything as its time
                return _seconds(each["lastUpdateTime"]) + kept - now
    return _seconds(since) + kept - now


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
