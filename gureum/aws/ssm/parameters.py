"""AWS's public parameters: `/aws/service/ami-amazon-linux-latest/…` and its relatives, which answer the built-in images.

Nothing is stored; which names there are is told by aws/ec2/image_names.py.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.image_names import builtin_of, listed_names
from gureum.aws.ec2.images import BUILTIN_CREATED, builtin_id
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page

VERSION = 1
LIMIT_PAGE = 10


@operation("GetParameter")
def get_parameter(call: Call) -> Result:
    """AWS: ssm GetParameter. ParameterNotFound, ParameterVersionNotFound."""
    return {"Parameter": _find(call, call.params["Name"])}


@operation("GetParameters")
def get_parameters(call: Call) -> Result:
    """AWS: ssm GetParameters: those that are not there are named."""
    found, missing = [], []
    for name in call.params["Names"]:
        try:
            found.append(_find(call, name))
        except AwsError:
            missing.append(name)
    return {"Parameters": found, "InvalidParameters": missing}


@operation("GetParametersByPath")
def get_parameters_by_path(call: Call) -> Result:
    """AWS: ssm GetParametersByPath: directly under the path, or with Recursive at any depth."""
    path = call.params["Path"].rstrip("/")
    if not call.params["Path"].startswith("/"):
        raise AwsError(
            "ValidationException",
            "The parameter doesn't meet the parameter name requirements. The path must begin with a forward slash (/).",
        )
    below = [name for name in listed_names() if name.startswith(f"{path}/")]
    if not call.params.get("Recursive"):
        below = [name for name in below if "/" not in name[len(path) + 1 :]]
    if call.params.get("ParameterFilters"):
        below = [name for name in below if _passes(call.params["ParameterFilters"])]
    names, token = page(call.params, below, str, least=1, most=LIMIT_PAGE, default=LIMIT_PAGE)
    shown: Result = {"Parameters": [_find(call, name) for name in names]}
    return shown | ({"NextToken": token} if token else {})


def _find(call: Call, text: str) -> dict[str, Any]:
    """API form of the parameter that a name, a name with ":version", or an ARN names."""
    name = text.strip()
    if name.startswith("arn:"):
        name = name.partition(":parameter")[2]
    name, _, selector = name.partition(":")
    found = builtin_of(name)
    if found is None:
        raise AwsError("ParameterNotFound", "")
    if selector and selector != str(VERSION):
        message = f"Systems Manager could not find version {selector} of {name}. Verify the version and try again."
        raise AwsError("ParameterVersionNotFound", message)
    shown: dict[str, Any] = {
        "Name": name,
        "Type": "String",
        "Value": builtin_id(found),
        "Version": VERSION,
        "LastModifiedDate": BUILTIN_CREATED,
        "ARN": f"arn:aws:ssm:{call.region}::parameter{name}",
        "DataType": "text",
    }
    return shown | ({"Selector": f":{selector}"} if selector else {})


def _passes(filters: list[dict[str, Any]]) -> bool:
    """Public parameters are of type String, without key and labels. AWS: InvalidFilterKey."""
    for one in filters:
        key, values = one["Key"], one.get("Values") or ()
        if key not in ("Type", "KeyId", "Label"):
            raise AwsError("InvalidFilterKey", f"The following filter key is not valid: {key}")
        if key != "Type" or "String" not in values:
            return False
    return True
