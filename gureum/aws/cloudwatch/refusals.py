"""The words with which CloudWatch refuses a call. Codes and texts: AWS CloudWatch API reference, and answers as clients have recorded them."""

from __future__ import annotations

from gureum.aws.errors import AwsError


def invalid(text: str) -> AwsError:
    """AWS: InvalidParameterValue."""
    return AwsError("InvalidParameterValue", text)


def clash(text: str) -> AwsError:
    """AWS: InvalidParameterCombination."""
    return AwsError("InvalidParameterCombination", text)


def missing(text: str) -> AwsError:
    """AWS: MissingParameter."""
    return AwsError("MissingParameter", text)


def validation(text: str) -> AwsError:
    """AWS: ValidationError, of alarms and GetMetricData."""
    return AwsError("ValidationError", text)


def not_found(text: str) -> AwsError:
    """AWS: ResourceNotFound."""
    return AwsError("ResourceNotFound", text)


def not_built(what: str) -> AwsError:
    """What AWS would do and gureum does not yet."""
    return AwsError("NotImplemented", f"gureum does not build {what} of cloudwatch yet.", status=501)


def both(one: str, other: str) -> AwsError:
    return clash(f"The parameters {one} and {other} are mutually exclusive and you have specified both.")
