"""Listeners' certificates that are IAM's: looked up where IAM is answered (aws/neighbours) when a listener gets one, and kept with the listener, the
key sealed. So they are served whatever becomes of the daemon and of IAM, as those of ACM are.

A certificate of IAM never changes but in its name, so a copy cannot become old. One that is renamed stays where it is used, under the ARN by which it
was given.
"""

from __future__ import annotations

from collections.abc import Iterable

from gureum.aws.acm.certificates import NOT_SERVED
from gureum.aws.acm.materials import algorithm_of, material, names_of, read_issued
from gureum.aws.call import Call
from gureum.aws.elbv2.faults import certificate_not_found, not_built, unsupported_certificate
from gureum.aws.elbv2.kinds import ServerCertificate
from gureum.aws.errors import AwsError
from gureum.core.neighbours import SERVER_CERTIFICATE, NeighbourRefused
from gureum.ports import proxies


def is_of_iam(arn: str) -> bool:
    return arn.split(":")[2:3] == ["iam"]


def look_up(call: Call, arn: str) -> ServerCertificate:
    """AWS: CertificateNotFound, UnsupportedCertificate. NotImplemented where nobody answers IAM, and for a key that a proxy would not load.
    Unasked."""
    if not call.known.answers("iam"):
        raise not_built("A listener with a server certificate of IAM, which nobody answers here (`make neighbours`),")
    if arn.split(":")[4:5] != [call.account]:
        raise certificate_not_found(arn)
    try:
        found = call.known.answer("iam", SERVER_CERTIFICATE, call.account, call.region, Arn=arn)
    except NeighbourRefused as none:
        raise certificate_not_found(arn) from none
    try:
        certificate, chain, key = read_issued(f"{found['Body']}\n{found['Chain']}", found["Key"])
    except (AwsError, ValueError) as unreadable:
        raise unsupported_certificate(arn) from unreadable
    if algorithm_of(key.public_key()) in NOT_SERVED:
        raise not_built(f"A listener with a certificate whose key is {algorithm_of(key.public_key())}")
    made = material(found["Arn"], certificate, chain, key, call.sealer)
    if made.not_after < call.now or made.weakness:
        raise unsupported_certificate(arn)
    return ServerCertificate(found["Id"], made, names_of(certificate))


def kept(
    call: Call, arns: Iterable[str], before: dict[str, ServerCertificate], given: str = ""
) -> dict[str, ServerCertificate]:
    """Those of `arns` that are IAM's, as a listener keeps them. `before`: what it has kept. `given`: the one of this call, looked up anew."""
    found = {}
    for arn in filter(is_of_iam, dict.fromkeys(arns)):
        old = before.get(arn)
        new = old if old is not None and arn != given else look_up(call, arn)
        # Sealed anew, the same key would look like another.
        found[arn] = old if old is not None and (old.id, old.material.name) == (new.id, new.material.name) else new
    return found


def served(arn: str, one: ServerCertificate) -> proxies.Certificate:
    chain = one.material.certificate_pem + one.material.chain_pem
    return proxies.Certificate(one.material.name, chain, one.material.sealed_key, arn, one.names)
