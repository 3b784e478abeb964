"""The stored shapes of Auto Scaling, and the indexes by which they are found.

    Group ◄─owns─ Member (named by its instance's id) ─► ec2.Instance
      ▲ ▲ ▲
      │ │ └─owns─ Activity (what was done, and why)
      │ └──owns── Policy ─► cloudwatch.MetricAlarm (a target-tracking policy's own two)
      └───owns─── Hook, ScheduledAction, Refresh

A member is written in the same commit as its instance, so an instance is never launched twice nor forgotten. Names that users choose may hold
what store keys may not, so objects are named by their quoted form (`object_name`).
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

import msgspec

from gureum.aws.partitions import partition_of
from gureum.aws.topic_notices import NoticeSpec
from gureum.engine.resource import Resource, kind

Lifecycle = Literal[
    "Pending",
    "Pending:Wait",
    "InService",
    "Terminating",
    "Terminating:Wait",
    "Detaching",
    "EnteringStandby",
    "Standby",
    "Warmed:Pending",
    "Warmed:Pending:Wait",
    "Warmed:Stopped",
    "Warmed:Running",
    "Warmed:Terminating",
    "Warmed:Terminating:Wait",
]
STARTING: frozenset[str] = frozenset({"Pending", "Pending:Wait"})
LEAVING: frozenset[str] = frozenset({"Terminating", "Terminating:Wait", "Detaching"})
STANDBY: frozenset[str] = frozenset({"EnteringStandby", "Standby"})
WARMED: frozenset[str] = frozenset({"Warmed:Stopped", "Warmed:Running"})


def object_name(*names: str) -> str:
    """The name in the store of what users may name as they like, within its group."""
    return ";".join(quote(name, safe=" :@+=,()[]") for name in names)


class Template(msgspec.Struct, frozen=True):
    """A launch template as the user named it: by `id` (its `name` is shown beside it); `version`: "$Default", "$Latest" or a number."""

    id: str
    name: str
    version: str = "$Default"


class Override(msgspec.Struct, frozen=True):
    """A type, or by `requirements` (API form of EC2's InstanceRequirements) several. `weight`: units of capacity; 0: none given, which is one."""

    type: str = ""
    weight: int = 0
    requirements: dict[str, Any] = {}


class Distribution(msgspec.Struct, frozen=True):
    """AWS: InstancesDistribution. `base`: units on demand; `percentage`: of the rest. `max_price` "": none given."""

    on_demand_strategy: str = "prioritized"
    base: int = 0
    percentage: int = 100
    spot_strategy: str = "lowest-price"
    spot_pools: int = 2
    max_price: str = ""


class Mixed(msgspec.Struct, frozen=True):
    """AWS: MixedInstancesPolicy, but for its launch template, which is the group's."""

    overrides: tuple[Override, ...] = ()
    distribution: Distribution = Distribution()


class GroupTag(msgspec.Struct, frozen=True):
    key: str
    value: str
    propagate: bool


class Maintenance(msgspec.Struct, frozen=True):
    """AWS: InstanceMaintenancePolicy, shares of the desired capacity in percent; -1: none."""

    least: int = -1
    most: int = -1


class WarmPool(msgspec.Struct, frozen=True):
    """AWS: WarmPoolConfiguration. `prepared`: MaxGroupPreparedCapacity, -1: the group's maximum. `reuse`: what a scale-in ends comes back to it.
    `deleting`: it goes when its last instance has."""

    least: int = 0
    prepared: int = -1
    state: Literal["Stopped", "Running"] = "Stopped"
    reuse: bool = False
    deleting: bool = False


class Notification(msgspec.Struct, frozen=True):
    """`topic`: ARN. `types`: AWS's names of what it hears of."""

    topic: str
    types: tuple[str, ...]


class Source(msgspec.Struct, frozen=True):
    """What a group launches from; names as in GroupSpec."""

    template: Template | None
    configuration: str
    mixed: Mixed | None


class GroupSpec(msgspec.Struct, frozen=True):
    """`template` or `configuration` (a launch configuration's name). `subnets`: none: the default subnets of `zones`. `target_groups`: ARNs.
    `warmup_s` None: not given. `suspended`: process → reason. `why`: the sentence with which activities tell what changed the desired
    capacity. `cooled`: Unix seconds when the cooldown of the last simple scaling ends. `deleting`: it goes when its last member has."""

    name: str
    uuid: str
    min: int
    max: int
    desired: int
    zones: tuple[str, ...]
    subnets: tuple[str, ...] = ()
    template: Template | None = None
    mixed: Mixed | None = None
    configuration: str = ""
    cooldown_s: int = 300
    health_type: tuple[str, ...] = ("EC2",)
    grace_s: int = 0
    target_groups: tuple[str, ...] = ()
    termination_policies: tuple[str, ...] = ("Default",)
    protected: bool = False
    capacity_rebalance: bool = False
    warmup_s: int | None = None
    max_lifetime_s: int = 0
    maintenance: Maintenance | None = None
    warm_pool: WarmPool | None = None
    tags: tuple[GroupTag, ...] = ()
    suspended: dict[str, str] = {}
    metrics: tuple[str, ...] = ()
    notifications: tuple[Notification, ...] = ()
    service_role: str = ""
    context: str = ""
    placement_group: str = ""
    deletion_protection: str = "none"
    why: str = ""
    cooled: float = 0.0
    deleting: bool = False
    failures: int = 0
    retry_at: float = 0.0

    @property
    def source(self) -> Source:
        return Source(self.template, self.configuration, self.mixed)


def target_group_ids(group: Group) -> tuple[str, ...]:
    return tuple(arn.rpartition("/")[2] for arn in group.spec.target_groups)


@kind(
    "autoscaling.Group",
    indexes={
        "configuration": lambda one: (one.spec.configuration,) if one.spec.configuration else (),
        "template": lambda one: (one.spec.template.id,) if one.spec.template else (),
        "target-group": target_group_ids,
    },
)
class Group(Resource, frozen=True):
    spec: GroupSpec

    @property
    def arn(self) -> str:
        account, region = self.meta.scope.split("/")
        where = f"{self.spec.uuid}:autoScalingGroupName/{self.spec.name}"
        return f"arn:{partition_of(region)}:autoscaling:{region}:{account}:autoScalingGroup:{where}"


class Wait(msgspec.Struct, frozen=True):
    """A lifecycle hook that a member waits for. `until`: Unix seconds; `latest`: heartbeats go no further. `result` "": still waited for."""

    hook: str
    token: str
    until: float
    latest: float
    default: str
    result: str = ""


class MemberSpec(msgspec.Struct, frozen=True):
    """`group`: object name of the Group. `since`: Unix seconds of the last lifecycle change; `in_service`: when it first served. `activity`: name
    of the Activity under way. `why`: what the end of it is for, said in activities. `hooked`: hooks of the present transition have been
    set. `configuration_made`: when the launch configuration was made that it comes from. `pooled`: it comes from the warm pool; `returning`: it
    ends there. `spot`: a mixed instances policy made a Spot Instance of it. `weight`: units of capacity."""

    group: str
    zone: str
    type: str
    state: Lifecycle = "Pending"
    health: Literal["Healthy", "Unhealthy"] = "Healthy"
    template: Template | None = None
    configuration: str = ""
    configuration_made: float = 0.0
    protected: bool = False
    launched: float = 0.0
    since: float = 0.0
    in_service: float = 0.0
    activity: str = ""
    why: str = ""
    waits: tuple[Wait, ...] = ()
    hooked: bool = False
    pooled: bool = False
    returning: bool = False
    spot: bool = False
    weight: int = 1


@kind("autoscaling.Member", indexes={"group": lambda one: one.spec.group})
class Member(Resource, frozen=True):
    """An instance of a group, named by its id."""

    spec: MemberSpec

    @property
    def counts(self) -> bool:
        """Whether it is part of the group's capacity."""
        return self.spec.state in STARTING or self.spec.state == "InService"

    @property
    def units(self) -> int:
        """How much of the group's capacity it is."""
        return self.spec.weight if self.counts else 0

    @property
    def warm(self) -> bool:
        """Whether it is in the warm pool, and so none of the group's instances yet."""
        return self.spec.state.startswith("Warmed:")


class ConfigurationSpec(msgspec.Struct, frozen=True):
    """`params`: of CreateLaunchConfiguration as given, without the name."""

    name: str
    uuid: str
    params: dict[str, object]


@kind("autoscaling.LaunchConfiguration")
class LaunchConfiguration(Resource, frozen=True):
    spec: ConfigurationSpec


class ActivitySpec(msgspec.Struct, frozen=True):
    """AWS: Activity. Times in Unix seconds; `end` 0.0 while it goes on. `details`: JSON text. `what`: of which events and notifications tell, and
    of which `instance`."""

    group: str
    description: str
    cause: str
    start: float
    details: str
    status: str = "InProgress"
    progress: int = 0
    end: float = 0.0
    message: str = ""
    what: Literal["", "launch", "terminate", "detach"] = ""
    instance: str = ""


@kind("autoscaling.Activity", indexes={"group": lambda one: one.spec.group})
class Activity(Resource, frozen=True):
    spec: ActivitySpec


class Step(msgspec.Struct, frozen=True):
    """Bounds are distances from the alarm's threshold; None: open."""

    adjustment: int
    lower: float | None = None
    upper: float | None = None


class Tracking(msgspec.Struct, frozen=True):
    """`config`: TargetTrackingConfiguration as given."""

    target: float
    config: dict[str, object]
    scale_in: bool = True


class PolicySpec(msgspec.Struct, frozen=True):
    """`group`: object name. `type`: "SimpleScaling", "StepScaling", "TargetTrackingScaling". `alarms`: names of those it made itself."""

    group: str
    name: str
    uuid: str
    type: str
    adjustment_type: str = ""
    adjustment: int = 0
    min_magnitude: int = 0
    cooldown_s: int | None = None
    aggregation: str = "Average"
    steps: tuple[Step, ...] = ()
    warmup_s: int | None = None
    tracking: Tracking | None = None
    enabled: bool = True
    alarms: tuple[str, ...] = ()


@kind("autoscaling.Policy", indexes={"group": lambda one: one.spec.group})
class Policy(Resource, frozen=True):
    spec: PolicySpec

    def arn(self, group: Group) -> str:
        account, region = self.meta.scope.split("/")
        where = f"{self.spec.uuid}:autoScalingGroupName/{group.spec.name}:policyName/{self.spec.name}"
        return f"arn:{partition_of(region)}:autoscaling:{region}:{account}:scalingPolicy:{where}"


class HookSpec(msgspec.Struct, frozen=True):
    """`launching`: of autoscaling:EC2_INSTANCE_LAUNCHING, else …TERMINATING. `default`: "ABANDON" or "CONTINUE"."""

    group: str
    name: str
    launching: bool
    timeout_s: int = 3600
    default: str = "ABANDON"
    metadata: str = ""
    target: str = ""
    role: str = ""


@kind("autoscaling.Hook", indexes={"group": lambda one: one.spec.group})
class Hook(Resource, frozen=True):
    spec: HookSpec


class ScheduledSpec(msgspec.Struct, frozen=True):
    """`start`, `end`: Unix seconds, 0.0 for none. `min`, `max`, `desired`: -1: left as it is. `due`: when it acts next, 0.0: never more."""

    group: str
    name: str
    uuid: str
    recurrence: str = ""
    zone: str = ""
    start: float = 0.0
    end: float = 0.0
    min: int = -1
    max: int = -1
    desired: int = -1
    due: float = 0.0


@kind("autoscaling.ScheduledAction", indexes={"group": lambda one: one.spec.group})
class ScheduledAction(Resource, frozen=True):
    spec: ScheduledSpec


class Rollback(msgspec.Struct, frozen=True):
    """AWS: RollbackDetails; `percent` and `to_update` as they were when it began."""

    reason: str
    start: float
    percent: int
    to_update: int


class RefreshSpec(msgspec.Struct, frozen=True):
    """An instance refresh. `params`: Preferences and DesiredConfiguration as given. `before`: what the group launched from before, for a rollback.
    `old`: instances to replace. `hold_until`: the end of a checkpoint's wait, or of the bake time. `wait_until`: so long what may not be replaced
    (protected, in standby) is waited for. `percent`, `to_update`: how far it came, once it has ended."""

    group: str
    params: dict[str, object]
    status: str = "Pending"
    reason: str = ""
    start: float = 0.0
    end: float = 0.0
    old: tuple[str, ...] = ()
    total: int = 0
    before: Template | None = None
    before_configuration: str = ""
    before_mixed: Mixed | None = None
    hold_until: float = 0.0
    checkpoints_passed: int = 0
    wait_until: float = 0.0
    rollback: Rollback | None = None
    percent: int = -1
    to_update: int = 0

    @property
    def source_before(self) -> Source:
        return Source(self.before, self.before_configuration, self.before_mixed)


@kind("autoscaling.Refresh", indexes={"group": lambda one: one.spec.group})
class Refresh(Resource, frozen=True):
    spec: RefreshSpec


@kind("autoscaling.Notice")
class Notice(Resource, frozen=True):
    """A message to a topic that has not been delivered yet."""

    spec: NoticeSpec
