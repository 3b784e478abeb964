"""SendSSHPublicKey: the key is put among the keys of an account in the machine, and taken away after 60 seconds.

AWS's guests ask their metadata for such keys (an AuthorizedKeysCommand of their SSH server). The small guest's server has no such command, so the key
is written where every SSH server looks, marked with an id of its own. It is stored first: whatever happens, it is taken away in the end.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.ssh_keys import NotAPublicKey, read_public_key, render_openssh
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.ssm.guest_users import Account, account_in
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.registry import background
from gureum.engine.resource import Resource, kind
from gureum.ports import PortError
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.ec2-instance-connect")
LIFE_S = 60.0
LIMIT_KEYS = 100
"""Of an account and region that are in machines at once."""
LOOK_S = 1.0
RETRY_S = 10.0

_PUT = """\
file=$1/.ssh/authorized_keys
mkdir -p "$1/.ssh" && touch "$file" && chmod 700 "$1/.ssh" && chmod 600 "$file" && chown "$2" "$1/.ssh" "$file" || exit 1
[ -z "$(tail -c 1 "$file")" ] || echo >> "$file"
printf '%s\\n' "$3" >> "$file"
"""
_TAKE = """\
file=$1/.ssh/authorized_keys
[ -f "$file" ] || exit 0
grep -vF " $2" "$file" > "$file.new"
cat "$file.new" > "$file" && rm -f "$file.new"
"""


class KeySpec(msgspec.Struct, frozen=True):
    """`home`: of the account in the machine. `until`: Unix seconds."""

    instance: str
    user: str
    home: str
    until: float


@kind("ec2-instance-connect.Key", indexes={"instance": lambda one: one.spec.instance})
class Key(Resource, frozen=True):
    """A key that is, or may be, in a machine. The name marks it there."""

    spec: KeySpec


@operation("SendSSHPublicKey")
async def send_ssh_public_key(call: Call) -> Result:
    """AWS: ec2-instance-connect SendSSHPublicKey. InvalidArgsException, EC2InstanceNotFoundException, EC2InstanceStateInvalidException."""
    params = call.params
    name, user = params["InstanceId"], params["InstanceOSUser"]
    instance = call.get(Instance, name)
    if instance is None or instance.status.state == "terminated":
        raise AwsError("EC2InstanceNotFoundException", f"The instance {name} was not found.")
    if instance.status.state != "running":
        raise AwsError("EC2InstanceStateInvalidException", f"The instance {name} is not running.")
    if params.get("AvailabilityZone") not in (None, instance.spec.zone):
        raise AwsError("InvalidArgsException", "The instance is not in this Availability Zone.")
    try:
        key = render_openssh(read_public_key(params["SSHPublicKey"].encode("ascii", "replace")))
    except NotAPublicKey as error:
        raise AwsError("InvalidArgsException", "The SSH public key is not valid.") from error
    if len(call.all(Key)) >= LIMIT_KEYS:
        raise AwsError("ThrottlingException", "Too many keys have been sent. Try again later.")
    try:
        account = await account_in(call.agent, name, user)
    except PortError as error:
        raise _unavailable(name, error) if error.retry else AwsError("InvalidArgsException", error.why) from error
    mark = new_id("eic-")
    transaction = call.transaction()
    spec = KeySpec(name, user, account.home, call.now + LIFE_S)
    transaction.create(Key(meta=call.meta(mark), spec=spec))
    await call.commit(transaction)
    try:
        await _put(call, name, account, f"{' '.join(key.split()[:2])} {mark}")
    except PortError as error:
        raise _unavailable(name, error) from error
    return {"RequestId": call.request_id, "Success": True}


async def _put(call: Call, instance: str, account: Account, line: str) -> None:
    owner = f"{account.uid}:{account.gid}"
    args = ["/bin/sh", "-c", _PUT, "sh", account.home.rstrip("/"), owner, line]
    answer = await call.agent.ask({"op": "exec", "name": instance, "args": args, "timeout_s": 20.0})
    if answer["exit_code"]:
        raise PortError(f"the account {account.name} cannot have keys")


def _unavailable(name: str, error: PortError) -> AwsError:
    return AwsError("EC2InstanceUnavailableException", f"The instance {name} is currently unavailable: {error.why}")


@background("ec2-instance-connect keys")
async def take_keys(world: World) -> None:
    """Takes keys away whose time is over, each in a task of its own: a machine that does not answer keeps no other waiting."""
    tasks: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            now = world.clock.now()
            for key in list(world.client.everywhere(Key)):
                name = key.meta.name
                if key.spec.until <= now and (name not in tasks or tasks[name].done()):
                    tasks[name] = asyncio.ensure_future(_take(world, key))
            tasks = {name: task for name, task in tasks.items() if not task.done()}
            await world.clock.sleep(LOOK_S)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _take(world: World, key: Key) -> None:
    """Of a machine that does not run, the key stays until it does again, or is gone."""
    spec = key.spec
    instance = world.client.get(Instance, key.meta.scope, spec.instance)
    if instance is not None and instance.status.state not in ("terminated", "shutting-down"):
        args = ["/bin/sh", "-c", _TAKE, "sh", spec.home.rstrip("/"), key.meta.name]
        try:
            await world.link.ask({"op": "exec", "name": spec.instance, "args": args, "timeout_s": 20.0})
        except PortError as refused:
            log.info("a key is not taken away yet", extra={"instance": spec.instance, "why": refused.why})
            await world.clock.sleep(RETRY_S)
            return
    transaction = world.client.transaction()
    transaction.delete(key)
    try:
        await transaction.commit()
    except (Conflict, StoreFull, StoreBroken) as failed:
        log.warning("a key that was taken away is not forgotten", extra={"key": key.meta.name, "why": str(failed)})
        await world.clock.sleep(RETRY_S)
