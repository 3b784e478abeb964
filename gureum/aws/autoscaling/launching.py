"""Launches: from what a group launches from, to instances with their members in one commit.

The instance is made by the same pieces as RunInstances makes one (aws/ec2/instances/launch.py), so it is what a user would have got.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gureum.aws.autoscaling.activities import begin
from gureum.aws.autoscaling.faults import invalid
from gureum.aws.autoscaling.kinds import Group, LaunchConfiguration, Member, MemberSpec, Template, object_name
from gureum.aws.autoscaling.mixed import Choice, choices, pool_types
from gureum.aws.autoscaling.sentences import launching, started_cause
from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.launch import create_instance, plan_launch
from gureum.aws.ec2.instances.launch_templates import merge_launch_template
from gureum.aws.ec2.networks.kinds import Subnet
from gureum.aws.errors import AwsError
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

MOST_LAUNCHES = 20
"""In one commit."""
REQUESTER = "autoscaling.amazonaws.com"
_PASSING = (
    "InsufficientInstanceCapacity",
    "InsufficientFreeAddressesInSubnet",
    "ReservationCapacityExceeded",
    "InvalidAMIID.Unavailable",
)
"""What keeps a launch from being made now, and says nothing of the template."""
_SPOT_BY_TEMPLATE = "A launch template that requests Spot Instances cannot be used with a mixed instances policy."
_FROM_CONFIGURATION = (
    "ImageId",
    "InstanceType",
    "KeyName",
    "UserData",
    "EbsOptimized",
    "IamInstanceProfile",
    "BlockDeviceMappings",
    "MetadataOptions",
)


def launch(
    call: Call,
    transaction: Transaction,
    group: Group,
    zone: str,
    count: int,
    before: int,
    *,
    warm: bool = False,
    cause: str = "",
) -> list[Instance]:
    """Up to `count` new units of capacity in a zone, with members and activities. `before`: the group's capacity, or the size of the warm
    pool that they are for (`warm`). `cause`: what activities say, if not what follows from the group. Raises the errors of
    RunInstances when there is not even one; of an instance that cannot be made whole (the subnet has no address left) nothing is written."""
    params = launch_params(call, group)
    chosen = [Choice(str(params.get("InstanceType") or ""), spot=False, weight=1, units=count)]
    if group.spec.mixed is not None:
        members = [one for one in call.by(Member, "group", group.meta.name) if one.counts]
        chosen = choices(group.spec, chosen[0].type, members, zone, count, capacity=before)
    refused: AwsError | None = None
    for choice in chosen:
        try:
            return _launch_one(call, transaction, group, zone, params, choice, before, warm=warm, cause=cause)
        except AwsError as error:
            refused = refused or error
    raise refused or invalid("No instance types match the instance requirements of the group.")


def _launch_one(
    call: Call,
    transaction: Transaction,
    group: Group,
    zone: str,
    given: dict[str, Any],
    choice: Choice,
    before: int,
    *,
    warm: bool,
    cause: str,
) -> list[Instance]:
    """Of one type, and paid for in one way."""
    subnet = _subnet(call, group, zone)
    params = dict(given) | {"MinCount": 1, "MaxCount": -(-choice.units // choice.weight)}
    if group.spec.mixed is not None:
        params |= _bought(choice)
    _place(params, subnet)
    if group.spec.placement_group:
        params["Placement"] = dict(params.get("Placement") or {}) | {"GroupName": group.spec.placement_group}
        params["Placement"].pop("GroupId", None)
    launched = call.with_params(params)
    plan = plan_launch(launched, params)
    reservation = new_id("r-")
    made: list[Instance] = []
    for index in range(plan.count):
        saved = transaction.savepoint()
        try:
            instance = create_instance(launched, transaction, params, plan, reservation, index)
        except AwsError:
            transaction.back_to(saved)
            if index == 0:
                raise
            return made
        made.append(instance)
        so_far = before + index * choice.weight
        _join(call, transaction, group, instance, so_far, choice, warm=warm, cause=cause)
    return made


def _bought(choice: Choice) -> dict[str, Any]:
    """Parameters of RunInstances."""
    if not choice.spot:
        return {"InstanceType": choice.type}
    options = {"SpotInstanceType": "one-time"} | ({"MaxPrice": choice.max_price} if choice.max_price else {})
    return {"InstanceType": choice.type, "InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}


def spread(have: Counter[str], zones: tuple[str, ...], count: int) -> dict[str, int]:
    """How many go to which zone, so that they are as even as can be. Pure."""
    filled = Counter({zone: have[zone] for zone in zones})
    plan: dict[str, int] = {}
    for _ in range(count):
        zone = min(zones, key=lambda one: (filled[one], zones.index(one)))
        filled[zone] += 1
        plan[zone] = plan.get(zone, 0) + 1
    return plan


def launch_params(call: Call, group: Group) -> dict[str, Any]:
    """RunInstances' parameters, as the template or the configuration has them, with the group's tags."""
    spec = group.spec
    if spec.template is not None:
        named = {"LaunchTemplateId": spec.template.id, "Version": spec.template.version or "$Default"}
        params = dict(merge_launch_template(call.with_params({"LaunchTemplate": named})))
    else:
        params = _configured(call, spec.configuration)
    tags = {tag.key: tag.value for tag in spec.tags if tag.propagate} | {"aws:autoscaling:groupName": spec.name}
    params["GureumTags"] = dict(params.get("GureumTags") or {}) | tags
    params["GureumRequester"] = REQUESTER
    return params


def check_template(call: Call, group: Group) -> None:
    """That an instance could be made of the group's template, were there room for it. AWS: ValidationError with EC2's own words."""
    if group.spec.warm_pool is not None:
        check_no_spot(call, group)
    if group.spec.template is None:
        return
    try:
        params = launch_params(call, group) | {"MinCount": 1, "MaxCount": 1}
        if group.spec.mixed is not None:
            if params.get("InstanceMarketOptions"):
                raise AwsError("InvalidParameterCombination", _SPOT_BY_TEMPLATE)
            params["InstanceType"] = pool_types(group.spec.mixed, str(params.get("InstanceType") or ""))[0]
        _place(params, _subnet(call, group, group.spec.zones[0]))
        plan_launch(call.with_params(params), params)
    except AwsError as error:
        if error.code in (*_PASSING, "NotImplemented"):
            return
        raise invalid(f"You must use a valid fully-formed launch template. {error.message}") from error


def check_no_spot(call: Call, group: Group) -> None:
    """What waits warm is On-Demand: a Spot Instance could not be stopped. AWS: "Warm pools", limitations; ValidationError."""
    mixed = group.spec.mixed
    try:
        spot = (
            mixed.distribution.percentage < 100
            if mixed
            else bool(launch_params(call, group).get("InstanceMarketOptions"))
        )
    except AwsError:
        return  # what it launches from is gone
    if spot:
        raise invalid("You can't add a warm pool to an Auto Scaling group that requests Spot Instances.")


def template_now(call: Call, group: Group) -> Template | None:
    """The group's template with the number that its version means now; None with a launch configuration, or when the template is gone."""
    template = group.spec.template
    if template is None:
        return None
    try:
        tags = launch_params(call, group)["GureumTags"]
    except AwsError:
        return None
    return Template(template.id, template.name, tags["aws:ec2launchtemplate:version"])


def _join(
    call: Call,
    transaction: Transaction,
    group: Group,
    instance: Instance,
    before: int,
    choice: Choice,
    *,
    warm: bool,
    cause: str,
) -> None:
    cause = cause or started_cause(group.spec.why, call.now, before, before + choice.weight, warm=warm)
    activity = begin(
        call,
        transaction,
        group,
        launching(instance.meta.name, " into warm pool" if warm else ""),
        cause,
        what="launch",
        instance=instance.meta.name,
        zone=instance.spec.zone,
        subnet=instance.spec.subnet,
    )
    spec = MemberSpec(
        group.meta.name,
        instance.spec.zone,
        instance.spec.type,
        state="Warmed:Pending" if warm else "Pending",
        template=template_now(call, group),
        configuration=group.spec.configuration,
        configuration_made=_made(call, group.spec.configuration),
        protected=group.spec.protected,
        launched=call.now,
        since=call.now,
        activity=activity.meta.name,
        spot=choice.spot,
        weight=choice.weight,
    )
    transaction.create(Member(meta=call.meta(instance.meta.name, owner=group), spec=spec))


def _made(call: Call, name: str) -> float:
    configuration = call.get(LaunchConfiguration, object_name(name)) if name else None
    return configuration.meta.created if configuration is not None else 0.0


def _configured(call: Call, name: str) -> dict[str, Any]:
    configuration = call.get(LaunchConfiguration, object_name(name))
    if configuration is None:
        raise AwsError("ValidationError", f"Launch configuration {name} not found")
    given = configuration.spec.params
    params = {key: given[key] for key in _FROM_CONFIGURATION if given.get(key) is not None}
    if "IamInstanceProfile" in params:
        profile = str(params["IamInstanceProfile"])
        params["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
    monitoring = given.get("InstanceMonitoring")
    params["Monitoring"] = monitoring if monitoring is not None else {"Enabled": True}
    if given.get("PlacementTenancy"):
        params["Placement"] = {"Tenancy": given["PlacementTenancy"]}
    if given.get("SpotPrice"):
        params["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": {"MaxPrice": given["SpotPrice"]}}
    groups = given.get("SecurityGroups") or []
    public = given.get("AssociatePublicIpAddress")
    if public is None:
        return params | ({"SecurityGroupIds": groups} if groups else {})
    interface: dict[str, Any] = {"DeviceIndex": 0, "AssociatePublicIpAddress": public}
    return params | {"NetworkInterfaces": [interface | ({"Groups": groups} if groups else {})]}


def _subnet(call: Call, group: Group, zone: str) -> str:
    """The subnet of the zone with the fewest of the group's instances; without subnets the zone's default one."""
    subnets = [
        found for id_ in group.spec.subnets if (found := call.get(Subnet, id_)) is not None and found.spec.zone == zone
    ]
    if group.spec.subnets and not subnets:
        raise AwsError("InvalidSubnetID.NotFound", f"The group has no subnet in {zone} any more")
    if not subnets:
        subnets = [one for one in call.all(Subnet) if one.spec.default_for_zone and one.spec.zone == zone]
    if not subnets:
        raise AwsError("MissingInput", f"No default subnet for availability zone: '{zone}'.")
    members = call.by(Member, "group", group.meta.name)
    return min(subnets, key=lambda one: (_used(call, members, one.meta.name), one.meta.name)).meta.name


def _used(call: Call, members: Sequence[Member], subnet: str) -> int:
    instances = (call.get(Instance, member.meta.name) for member in members)
    return sum(1 for one in instances if one is not None and one.spec.subnet == subnet)


def _place(params: dict[str, Any], subnet: str) -> None:
    """The group decides where; what a template says of it is laid aside. AWS: "If the launch template specifies a subnet …"."""
    params.pop("SubnetId", None)
    if params.get("Placement"):
        placement = {name: value for name, value in params["Placement"].items() if name != "AvailabilityZone"}
        params["Placement"] = placement
    if params.get("NetworkInterfaces"):
        params["NetworkInterfaces"] = [one | {"SubnetId": subnet} for one in params["NetworkInterfaces"]]
    else:
        params["SubnetId"] = subnet
