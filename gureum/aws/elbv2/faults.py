"""The words with which load balancing refuses, where several operations say the same."""

from __future__ import annotations

from collections.abc import Iterable, Sized

from gureum.aws.elbv2.limits import RESOURCES_PER_CALL
from gureum.aws.errors import AwsError


def invalid(text: str) -> AwsError:
    """What the service's own validation finds. AWS: ValidationError."""
    return AwsError("ValidationError", text)


def bad_configuration(text: str) -> AwsError:
    return AwsError("InvalidConfigurationRequest", text)


def not_built(what: str) -> AwsError:
    """What gureum has not: an honest refusal, never a pretence."""
    return AwsError("NotImplemented", f"{what} is not implemented by gureum.", status=501)


def refuse(operation: str, params: dict[str, object], names: Iterable[str]) -> None:
    """NotImplemented for the first of these parameters that is given."""
    for name in names:
        if params.get(name):
            raise not_built(f"{operation} with {name}")


def check_count(named: Sized | None, noun: str) -> None:
    """How much a call may name. AWS: ValidationError, "You cannot describe more than '20' target groups at a time"."""
    if named and len(named) > RESOURCES_PER_CALL:
        raise invalid(f"You cannot describe more than '{RESOURCES_PER_CALL}' {noun} at a time")


def between(name: str, value: int, least: int, most: int) -> int:
    """`value` when it is in the range."""
    if not least <= value <= most:
        raise invalid(f"'{name}' value '{value}' must be between '{least}-{most}' inclusive")
    return value


def certificate_not_found(arn: str) -> AwsError:
    return AwsError("CertificateNotFound", f"Certificate '{arn}' not found")


def unsupported_certificate(arn: str) -> AwsError:
    text = f"The certificate '{arn}' must have a fully-qualified domain name, a supported signature, and a supported key size."
    return AwsError("UnsupportedCertificate", text)
