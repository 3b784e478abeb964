"""Certificate requests (certificates.k8s.io/v1): what they hold, and what the built-in signers ask of them.

Source: Kubernetes, "Certificates and Certificate Signing Requests"; the texts are those of pkg/apis/certificates.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from gureum.kube.errors import Cause, duplicate, invalid, required, unsupported
from gureum.kube.kinds.rules import Rules

Object = dict[str, Any]
REQUESTS = "certificates.k8s.io/certificatesigningrequests"
API_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (API_CLIENT, KUBELET_CLIENT, KUBELET_SERVING)
"""Those that this cluster signs for. Requests to others wait for whoever does."""
KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
EXTENDED_USAGES = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}
SHORTEST_S = 600
_SIGNER = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+/\S+")


def request_of(one: Object) -> x509.CertificateSigningRequest:
    """The request itself. ValueError when it is none, or not signed by its own key."""
    try:
        text = base64.b64decode((one.get("spec") or {}).get("request") or "", validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"illegal base64 data: {error}") from error
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in text:
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    try:
        request = x509.load_pem_x509_csr(text)
        good = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature) as error:
        raise ValueError(f"asn1: structure error: {error}") from error
    if not good:
        raise ValueError("x509: the signature does not belong to the request")
    return request


def usages_of(one: Object) -> set[str]:
    return {str(usage) for usage in (one.get("spec") or {}).get("usages") or ()}


def names_of(request: x509.CertificateSigningRequest, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(each.value) for each in request.subject.get_attributes_for_oid(oid)]


def alternatives(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    """The subject's alternative names. ValueError when they cannot be read."""
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    except x509.DuplicateExtension as error:
        raise ValueError(str(error)) from error
    return list(found.value)


def objection(one: Object) -> str:
    """What the request's signer has against it; "" when it may be signed."""
    request, usages = request_of(one), usages_of(one)
    signer = one["spec"]["signerName"]
    if signer == API_CLIENT:
        return _of_client(usages)
    organizations, names = names_of(request, NameOID.ORGANIZATION_NAME), names_of(request, NameOID.COMMON_NAME)
    if organizations != ["system:nodes"]:
        return "subject organization is not system:nodes"
    others = alternatives(request)
    wanted = {"digital signature", "client auth" if signer == KUBELET_CLIENT else "server auth"}
    if signer == KUBELET_SERVING and not any(isinstance(each, x509.DNSName | x509.IPAddress) for each in others):
        return "DNS or IP subjectAltName is required"
    for kind, text in (
        (x509.DNSName, "DNS"),
        (x509.RFC822Name, "Email"),
        (x509.IPAddress, "IP"),
        (x509.UniformResourceIdentifier, "URI"),
    ):
        allowed = signer == KUBELET_SERVING and text in ("DNS", "IP")
        if not allowed and any(isinstance(each, kind) for each in others):
            return f"{text} subjectAltNames are not allowed"
    if usages not in (wanted, wanted | {"key encipherment"}):
        return f"usages did not match [{' '.join(sorted(wanted | {'key encipherment'}))}]"
    if not (names and names[0].startswith("system:node:")):
        return "subject common name does not begin with system:node:"
    return ""


def _of_client(usages: set[str]) -> str:
    more = sorted(usages - {"digital signature", "key encipherment", "client auth"})
    if more:
        return f"invalid usage for client certificate: {more[0]}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


def _validate(one: Object, old: Object | None) -> list[Cause]:
    if old is not None:  # the spec is as it was, the rest is admission's
        return []
    spec = one.get("spec") or {}
    causes: list[Cause] = []
    try:
        request_of(one)
    except ValueError as error:
        causes.append(invalid("spec.request", spec.get("request", ""), str(error)))
    usages = spec.get("usages") or []
    if not usages:
        causes.append(required("spec.usages"))
    for number, usage in enumerate(usages):
        if usage not in KEY_USAGES and usage not in EXTENDED_USAGES:
            causes.append(unsupported(f"spec.usages[{number}]", usage, [*KEY_USAGES, *EXTENDED_USAGES]))
        if usage in usages[:number]:
            causes.append(duplicate(f"spec.usages[{number}]", usage))
    signer, seconds = spec.get("signerName", ""), spec.get("expirationSeconds")
    if not signer:
        causes.append(required("spec.signerName"))
    elif signer == LEGACY:
        causes.append(invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version"))
    elif not _SIGNER.fullmatch(signer) or len(signer) > 571:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        causes.append(invalid("spec.signerName", signer, text))
    if seconds is not None and seconds < SHORTEST_S:
        text = "may not specify a duration less than 600 seconds (10 minutes)"
        causes.append(invalid("spec.expirationSeconds", seconds, text))
    return causes


def _keep_spec(one: Object, old: Object) -> None:
    one["spec"] = old.get("spec") or {}


RULES = {REQUESTS: Rules(update=_keep_spec, validate=_validate, generation=False)}
