"""The words with which Auto Scaling refuses."""

from __future__ import annotations

from gureum.aws.errors import AwsError


def invalid(message: str) -> AwsError:
    """AWS: ValidationError (Auto Scaling's common errors)."""
    return AwsError("ValidationError", message, status=400)


def not_built(what: str) -> AwsError:
    return AwsError("NotImplemented", f"{what} is not implemented by gureum.", status=501)


def no_classic_balancers() -> AwsError:
    """Of names of Classic Load Balancers, which nobody can make here (AWS's text for those that are not there, and for ARNs of other kinds)."""
    return invalid("Provided Load Balancers may not be valid. Please ensure they exist and try again.")


def no_group(name: str) -> AwsError:
    return invalid(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")


def no_group_to_update() -> AwsError:
    """AWS: UpdateAutoScalingGroup does not tell the name."""
    return invalid("AutoScalingGroup name not found - null")


def no_group_to_tag(name: str) -> AwsError:
    """AWS: CreateOrUpdateTags and DeleteTags have words of their own."""
    return invalid(f"AutoScalingGroup not found - AutoScaling Group {name} not found")


def in_progress(message: str) -> AwsError:
    return AwsError("ScalingActivityInProgress", message, status=400)


def in_use(message: str) -> AwsError:
    return AwsError("ResourceInUse", message, status=400)


def exists(message: str) -> AwsError:
    return AwsError("AlreadyExists", message, status=400)
