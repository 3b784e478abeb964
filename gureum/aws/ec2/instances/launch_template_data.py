"""The parameters inside a launch template version: what is checked when they are stored, and how a launch lays its own over them.

AWS: "Any additional parameters that you specify for the new instance overwrite the corresponding parameters included in the launch
template." (ec2 RunInstances). Lists are laid over each other by what tells their items apart: block devices by device name, network
interfaces by device index, tags by resource type and key; of any other list the request's stands alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from gureum.aws.errors import AwsError

Data = dict[str, Any]
LIMIT_USER_DATA_BYTES = 16384
TAGGED = ("instance", "volume", "network-interface", "spot-instances-request", "elastic-gpu")
OTHER_NAMES = {"RamDiskId": "RamdiskId", "ElasticGpuSpecifications": "ElasticGpuSpecification"}
"""Where RunInstances spells a member differently."""
WHOLE = frozenset({"IamInstanceProfile", "InstanceMarketOptions", "CapacityReservationSpecification"})
"""Structures whose members exclude each other: the request's stands alone."""
EXCLUDING = {"SecurityGroupIds": ("SecurityGroups",), "SecurityGroups": ("SecurityGroupIds",)}
NOT_OF_A_LAUNCH = frozenset({"InstanceRequirements", "Operator"})


def check_data(data: Data) -> Data:
    """`data` as it is kept: without empty members, times as Unix seconds. AWS: InvalidUserData.Malformed, InvalidParameterValue,
    InvalidParameterCombination."""
    if data.get("UserData"):
        _check_user_data(data["UserData"])
    for one in data.get("TagSpecifications") or ():
        if one.get("ResourceType") not in TAGGED:
            text = f"'{one.get('ResourceType')}' is not a valid taggable resource type for this operation."
            raise AwsError("InvalidParameterValue", text)
    if data.get("InstanceType") and data.get("InstanceRequirements"):
        text = "InstanceType and InstanceRequirements cannot be specified together."
        raise AwsError("InvalidParameterCombination", text)
    if data.get("NetworkInterfaces") and (data.get("SecurityGroupIds") or data.get("SecurityGroups")):
        text = "Network interfaces and an instance-level security groups may not be specified on the same request"
        raise AwsError("InvalidParameterCombination", text)
    return {name: _plain(value) for name, value in data.items() if value not in (None, "", [], {})}


def merge(data: Data, params: Data) -> Data:
    """RunInstances parameters: those of the template with `params` laid over them."""
    found = {OTHER_NAMES.get(name, name): value for name, value in data.items() if name not in NOT_OF_A_LAUNCH}
    for name, value in params.items():
        for other in EXCLUDING.get(name, ()):
            found.pop(other, None)
        found[name] = _laid_over(name, found.get(name), value)
    return found


def _laid_over(name: str, before: Any, value: Any) -> Any:
    if before is None or name in WHOLE:
        return value
    if name == "BlockDeviceMappings":
        return _by_key(before, value, "DeviceName", _over_device)
    if name == "NetworkInterfaces":
        return _by_key(before, value, "DeviceIndex", lambda old, new: {**old, **new})
    if name == "TagSpecifications":
        return _by_key(before, value, "ResourceType", _over_tags)
    if isinstance(before, dict) and isinstance(value, dict):
        return {**before, **value}
    return value


def _by_key(before: Iterable[Data], after: Iterable[Data], key: str, over: Any) -> list[Data]:
    found = {one.get(key): one for one in before}
    for one in after:
        old = found.get(one.get(key))
        found[one.get(key)] = one if old is None else over(old, one)
    return list(found.values())


def _over_device(old: Data, new: Data) -> Data:
    if new.get("Ebs") and old.get("Ebs"):
        return {**new, "Ebs": {**old["Ebs"], **new["Ebs"]}}
    return new


def _over_tags(old: Data, new: Data) -> Data:
    tags = {tag.get("Key"): tag for one in (old, new) for tag in one.get("Tags") or ()}
    return {"ResourceType": new.get("ResourceType"), "Tags": list(tags.values())}


def _check_user_data(text: str) -> None:
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise AwsError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.") from error
    if len(raw) > LIMIT_USER_DATA_BYTES:
        raise AwsError("InvalidUserData.Malformed", "User data is limited to 16384 bytes")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
