"""Certificates of HTTPS and TLS listeners: which there are, and the list of them that a listener has.

A listener has one default certificate and a list for SNI. Certificates are ACM's, or IAM's
(server_certificates.py); this module is the one place that looks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gureum.aws.acm.certificates import NOT_SERVED, Certificate, find, served
from gureum.aws.call import Call
from gureum.aws.elbv2 import limits, server_certificates
from gureum.aws.elbv2.arns import find_listener
from gureum.aws.elbv2.faults import (
    bad_configuration,
    certificate_not_found,
    invalid,
    not_built,
    unsupported_certificate,
)
from gureum.aws.elbv2.kinds import Listener, LoadBalancer
from gureum.aws.elbv2.paging import page
from gureum.aws.elbv2.server_certificates import is_of_iam
from gureum.aws.elbv2.target_places import Look
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.engine.client import Transaction
from gureum.ports import proxies

SECURE = ("HTTPS", "TLS")


def find_certificate(call: Call, transaction: Transaction, arn: str) -> str:
    """`arn` when there is such a certificate of the account and region, issued and usable; `transaction` requires that it stays so. One of
    IAM's is looked at where it is kept. AWS: CertificateNotFound, UnsupportedCertificate. NotImplemented for a key that a proxy would not load."""
    if is_of_iam(arn):
        return arn
    certificate = find(call, arn)
    if certificate is None:
        raise certificate_not_found(arn)
    material = certificate.material
    if material is None or material.not_after < call.now or material.weakness:
        raise unsupported_certificate(arn)
    if material.key_algorithm in NOT_SERVED:
        raise not_built(f"A listener with a certificate whose key is {material.key_algorithm}")
    transaction.require(certificate)
    return arn


def lower_certificates(listener: Listener, read: Look) -> list[proxies.Certificate]:
    """The listener's certificates with their sealed keys, as a proxy takes them, the default one first; without those that are gone."""
    spec, found = listener.spec, []
    for arn in dict.fromkeys(spec.certificates):
        if arn in spec.of_iam:
            found.append(server_certificates.served(arn, spec.of_iam[arn]))
            continue
        certificate = read.get(Certificate, listener.meta.scope, arn.rpartition("/")[2])
        shown = served(certificate) if certificate is not None else None
        found += [shown] if shown is not None else []
    return found


@operation("AddListenerCertificates")
async def add_listener_certificates(call: Call) -> Result:
    """AWS: elbv2 AddListenerCertificates: to the list; one that is in it already is success."""
    listener, balancer = _secure_listener(call)
    transaction = call.transaction()
    arn = find_certificate(call, transaction, _only(call.params["Certificates"]))
    extra = listener.spec.certificates[1:]
    if arn not in extra:
        _check_number(call, balancer, listener)
        await _set(call, transaction, listener, (*listener.spec.certificates, arn), given=arn)
    return {"Certificates": [{"CertificateArn": arn, "IsDefault": False}]}


@operation("RemoveListenerCertificates")
async def remove_listener_certificates(call: Call) -> Result:
    """AWS: elbv2 RemoveListenerCertificates: from the list; the default certificate is only replaced (ModifyListener)."""
    listener, _ = _secure_listener(call)
    arn = _only(call.params["Certificates"])
    default, extra = listener.spec.certificates[0], listener.spec.certificates[1:]
    if arn == default and arn not in extra:
        raise AwsError("OperationNotPermitted", "Default certificate cannot be removed from a listener")
    if arn in extra:
        await _set(call, call.transaction(), listener, (default, *(one for one in extra if one != arn)))
    return {}


@operation("DescribeListenerCertificates")
def describe_listener_certificates(call: Call) -> Result:
    """AWS: elbv2 DescribeListenerCertificates: the default one, and the list."""
    listener, _ = find_listener(call, call.params["ListenerArn"])
    rows = [{"CertificateArn": arn, "IsDefault": i == 0} for i, arn in enumerate(listener.spec.certificates)]
    shown, more = page(call.params, rows, lambda row: f"{not row['IsDefault']}:{row['CertificateArn']}")
    return {"Certificates": shown, **more}


def default_certificate(call: Call, transaction: Transaction, protocol: str) -> str:
    """The certificate that a listener is made with. AWS: ValidationError, InvalidConfigurationRequest, CertificateNotFound."""
    given = call.params.get("Certificates") or ()
    if not given:
        raise invalid(f"A certificate must be specified for {protocol} listeners")
    return find_certificate(call, transaction, _only(given))


def _only(given: Sequence[dict[str, Any]]) -> str:
    if len(given) != 1:
        raise bad_configuration("You must provide a list containing exactly one certificate")
    if given[0].get("IsDefault") is not None:
        raise invalid("You cannot set 'IsDefault' of a certificate")
    if not given[0].get("CertificateArn"):
        raise invalid("A certificate ARN must be specified")
    return str(given[0]["CertificateArn"])


def _secure_listener(call: Call) -> tuple[Listener, LoadBalancer]:
    listener, balancer = find_listener(call, call.params["ListenerArn"])
    if listener.spec.protocol not in SECURE:
        raise bad_configuration(
            f"Certificates are not supported for listeners with protocol '{listener.spec.protocol}'"
        )
    return listener, balancer


def _check_number(call: Call, balancer: LoadBalancer, listener: Listener) -> None:
    """AWS: TooManyCertificates: per application load balancer, per listener of a network load balancer; defaults are not counted."""
    application = balancer.spec.type == "application"
    listeners = call.by(Listener, "load-balancer", balancer.meta.name) if application else [listener]
    number = sum(len(one.spec.certificates[1:]) for one in listeners)
    most = (
        limits.CERTIFICATES_PER_APPLICATION_LOAD_BALANCER if application else limits.CERTIFICATES_PER_NETWORK_LISTENER
    )
    if number >= most:
        where = "load balancer" if application else "listener"
        raise AwsError("TooManyCertificates", f"The maximum number of certificates per {where} is {most}")


async def _set(
    call: Call, transaction: Transaction, listener: Listener, certificates: tuple[str, ...], given: str = ""
) -> None:
    of_iam = server_certificates.kept(call, certificates, listener.spec.of_iam, given)
    spec = msgspec.structs.replace(listener.spec, certificates=certificates, of_iam=of_iam)
    transaction.update(msgspec.structs.replace(listener, spec=spec))
    await call.commit(transaction)
