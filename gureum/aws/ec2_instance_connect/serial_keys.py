"""SendSerialConsoleSSHPublicKey: a public key with which, for 60 seconds, a session on the serial console of one instance may be begun.

The key never comes near the machine: who presents it is asked for at gureum's own SSH endpoint (gureum/serial_ssh.py), which is why a console can be
reached on which no network and no SSH server works.
"""

from __future__ import annotations

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.serial_consoles import access_is_enabled
from gureum.aws.ec2.instances.ssh_keys import NotAPublicKey, read_public_key, render_openssh
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.ec2_instance_connect.serial_sessions import LIMIT_TEXT, SerialSession
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id
from gureum.core.stream_client import read_pieces
from gureum.core.world import World
from gureum.engine.resource import Resource, kind
from gureum.ports import PortError

LIFE_S = 60.0
LIMIT_KEYS = 100
"""Of an account and region at once."""
_DISABLED = "Your account is not authorized to use the EC2 Serial Console. To authorize your account, run the EnableSerialConsoleAccess API."
_STATE = "Unable to connect because the instance is not in a valid state. Connecting to a stopped or terminated instance is not supported."
_TYPE = "The instance type is not supported for connecting via the serial console. Only Nitro instance types are currently supported."


class SerialKeySpec(msgspec.Struct, frozen=True):
    """`key`: "ssh-ed25519 AAAA…". `until`: Unix seconds."""

    instance: str
    key: str
    until: float


@kind("ec2-instance-connect.SerialKey")
class SerialKey(Resource, frozen=True):
    spec: SerialKeySpec


@operation("SendSerialConsoleSSHPublicKey")
async def send_serial_console_ssh_public_key(call: Call) -> Result:
    """AWS: ec2-instance-connect SendSerialConsoleSSHPublicKey. SerialConsoleAccessDisabledException, EC2InstanceNotFoundException,
    EC2InstanceStateInvalidException, EC2InstanceTypeInvalidException, InvalidArgsException, SerialConsoleSessionLimitExceededException,
    SerialConsoleSessionUnavailableException, ThrottlingException."""
    params = call.params
    name = params["InstanceId"]
    if not access_is_enabled(call.client, call.scope):
        raise AwsError("SerialConsoleAccessDisabledException", _DISABLED)
    instance = call.get(Instance, name)
    if instance is None:
        raise AwsError("EC2InstanceNotFoundException", f"The instance {name} was not found.")
    # AWS: a console is there while an instance starts and ends, too.
    if instance.status.state in ("stopped", "terminated"):
        raise AwsError("EC2InstanceStateInvalidException", _STATE)
    known = find_instance_type(instance.spec.type)
    if known is not None and known.hypervisor != "nitro":
        raise AwsError("EC2InstanceTypeInvalidException", _TYPE)
    try:
        key = render_openssh(read_public_key(params["SSHPublicKey"].encode("ascii", "replace")))
    except NotAPublicKey as error:
        raise AwsError("InvalidArgsException", "The SSH public key is not valid.") from error
    if call.get(SerialSession, name) is not None:
        raise AwsError("SerialConsoleSessionLimitExceededException", LIMIT_TEXT)
    keys = call.all(SerialKey)
    over = [one for one in keys if one.spec.until <= call.now]
    if len(keys) - len(over) >= LIMIT_KEYS:
        raise AwsError("ThrottlingException", "Too many keys have been sent. Try again later.")
    try:
        await read_pieces(call.agent, name, "end")
    except PortError as error:
        why = f"Unable to start a serial console session. Please try again. ({error.why})"
        raise AwsError("SerialConsoleSessionUnavailableException", why) from error
    transaction = call.transaction()
    for one in over:
        transaction.delete(one)
    spec = SerialKeySpec(name, " ".join(key.split()[:2]), call.now + LIFE_S)
    transaction.create(SerialKey(meta=call.meta(new_id("serial-")), spec=spec))
    await call.commit(transaction)
    return {"RequestId": call.request_id, "Success": True}


def opened_by(world: World, instance: str, key: str) -> Instance | None:
    """The instance, when this public key ("ssh-ed25519 AAAA…") may begin a session on its console now."""
    now = world.clock.now()
    for one in world.client.everywhere(SerialKey):
        spec, scope = one.spec, one.meta.scope
        if (
            spec.instance == instance
            and spec.key == key
            and now < spec.until
            and access_is_enabled(world.client, scope)
        ):
            return world.client.get(Instance, scope, instance)
    return None
