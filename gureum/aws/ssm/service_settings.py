"""Settings of the account and region: GetServiceSetting, UpdateServiceSetting, ResetServiceSetting, as far as they are Parameter Store's.

The tier of parameters that name none is obeyed. Higher throughput is remembered; gureum throttles nobody, so it changes nothing.
"""

from __future__ import annotations

import re

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import key_name
from gureum.aws.marks import Result, operation
from gureum.aws.ssm.documents import BUILTIN_CREATED
from gureum.engine.resource import Resource, kind

TIER = "/ssm/parameter-store/default-parameter-tier"
THROUGHPUT = "/ssm/parameter-store/high-throughput-enabled"
VALUES = {TIER: ("Standard", "Advanced", "Intelligent-Tiering"), THROUGHPUT: ("false", "true")}
"""What each may be; the first is the default."""
NOT_BUILT = (
    *("/ssm/appmanager/appmanager-enabled", "/ssm/automation/customer-script-log-destination"),
    *("/ssm/automation/customer-script-log-group-name", "/ssm/automation/enable-adaptive-concurrency"),
    *("/ssm/documents/console/public-sharing-permission", "/ssm/managed-instance/activation-tier"),
    *("/ssm/managed-instance/default-ec2-instance-management-role", "/ssm/opsinsights/opscenter"),
)
_ARN = re.compile(r"arn:aws[a-z-]*:ssm:([a-z0-9-]*):(\d{12}):servicesetting(/.+)")


class SettingSpec(msgspec.Struct, frozen=True):
    """`modified`: Unix seconds; `user`: an ARN."""

    name: str
    value: str
    modified: float
    user: str


@kind("ssm.ServiceSetting")
class ServiceSetting(Resource, frozen=True):
    """One that is not as AWS gave it."""

    spec: SettingSpec


@operation("GetServiceSetting")
def get_service_setting(call: Call) -> Result:
    """AWS: ssm GetServiceSetting. ServiceSettingNotFound."""
    return {"ServiceSetting": _show(call, _name(call))}


@operation("UpdateServiceSetting")
async def update_service_setting(call: Call) -> Result:
    """AWS: ssm UpdateServiceSetting. ServiceSettingNotFound."""
    name, value = _name(call), call.params["SettingValue"]
    if value not in VALUES[name]:
        raise AwsError("ValidationException", f"{name} must be one of {', '.join(VALUES[name])}.")
    spec = SettingSpec(name, value, call.now, f"arn:{call.partition}:iam::{call.account}:root")
    known, transaction = call.get(ServiceSetting, key_name(name)), call.transaction()
    if known is None:
        transaction.create(ServiceSetting(meta=call.meta(key_name(name)), spec=spec))
    else:
        transaction.update(msgspec.structs.replace(known, spec=spec))
    await call.commit(transaction)
    return {}


@operation("ResetServiceSetting")
async def reset_service_setting(call: Call) -> Result:
    """AWS: ssm ResetServiceSetting: the setting as it is then. ServiceSettingNotFound."""
    name = _name(call)
    known, transaction = call.get(ServiceSetting, key_name(name)), call.transaction()
    if known is not None:
        transaction.delete(known)
        await call.commit(transaction)
    return {"ServiceSetting": _show(call, name)}


def default_tier(call: Call) -> str:
    """Of parameters that name none."""
    found = call.get(ServiceSetting, key_name(TIER))
    return found.spec.value if found is not None else VALUES[TIER][0]


def _name(call: Call) -> str:
    """The setting's name, by which it is called, or which its ARN has."""
    text = call.params["SettingId"]
    arn = _ARN.fullmatch(text)
    own = arn is not None and (arn[1], arn[2]) == (call.region, call.account)
    name = arn[3] if arn is not None and own else text
    if name in NOT_BUILT:
        raise AwsError("NotImplemented", f"The setting {name} is not implemented by gureum.", status=501)
    if name not in VALUES:
        raise AwsError("ServiceSettingNotFound", f"The setting {text} does not exist.")
    return name


def _show(call: Call, name: str) -> Result:
    """API form. AWS: ssm ServiceSetting."""
    found = call.get(ServiceSetting, key_name(name))
    return {
        "SettingId": name,
        "SettingValue": found.spec.value if found is not None else VALUES[name][0],
        "LastModifiedDate": found.spec.modified if found is not None else BUILTIN_CREATED,
        "LastModifiedUser": found.spec.user if found is not None else "System",
        "ARN": call.arn(f"servicesetting{name}", service="ssm"),
        "Status": "Customized" if found is not None else "Default",
    }
