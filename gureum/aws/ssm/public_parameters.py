"""AWS's public parameters: `/aws/service/ami-amazon-linux-latest/…` and its relatives, which answer the built-in images, and those of regions and
zones (public_infrastructure.py).

Nothing is stored; which names of images there are is told by aws/ec2/images/names.py.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.images.images import BUILTIN_CREATED, builtin_id
from gureum.aws.ec2.images.names import builtin_of, listed_names
from gureum.aws.errors import AwsError
from gureum.aws.ssm.public_infrastructure import infrastructure

VERSION = 1
PREFIX = "/aws/"


def find_public(call: Call, name: str, selector: str) -> dict[str, Any]:
    """API form. AWS: ParameterNotFound, ParameterVersionNotFound."""
    value = _value(name)
    if value is None:
        raise AwsError("ParameterNotFound", "")
    if selector and selector != str(VERSION):
        message = f"Systems Manager could not find version {selector} of {name}. Verify the version and try again."
        raise AwsError("ParameterVersionNotFound", message)
    shown: dict[str, Any] = {
        "Name": name,
        "Type": "String",
        "Value": value,
        "Version": VERSION,
        "LastModifiedDate": BUILTIN_CREATED,
        "ARN": f"arn:{call.partition}:ssm:{call.region}::parameter{name}",
        "DataType": "text",
    }
    return shown | ({"Selector": f":{selector}"} if selector else {})


def _value(name: str) -> str | None:
    image = builtin_of(name)
    return builtin_id(image) if image is not None else infrastructure().get(name)


def public_below(path: str, *, recursive: bool) -> list[str]:
    """Names under "/aws/service", which has no slash at its end."""
    below = [name for name in (*listed_names(), *infrastructure()) if name.startswith(f"{path}/")]
    return below if recursive else [name for name in below if "/" not in name[len(path) + 1 :]]
