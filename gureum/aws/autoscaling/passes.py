"""One look of a group at itself: what it has read, what it will write, and when it must look again."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.autoscaling import activities
from gureum.aws.autoscaling.hooks import waits_for
from gureum.aws.autoscaling.kinds import Group, Hook, Member
from gureum.aws.autoscaling.notices import tell_waits
from gureum.aws.autoscaling.sentences import terminating
from gureum.aws.autoscaling.targets import deregister, register
from gureum.aws.call import Call
from gureum.core.world import World
from gureum.engine.client import Transaction

LIMIT_OPERATIONS = 800
"""Of the store, after which a pass begins with no further member: what is left fits one member with all hooks and topics, and a launch."""


class PassFull(Exception):
    """So much has been decided that the rest is for the next pass. What was decided of each member is whole."""


class Pass:
    """`members`, the `pool` of warm ones and `group` are kept as the transaction will leave them. `due`: Unix seconds of what is waited for."""

    def __init__(self, world: World, call: Call, transaction: Transaction, group: Group, members: list[Member]) -> None:
        self.world = world
        self.call = call
        self.transaction = transaction
        self.group = group
        self.all = members
        self.hooks = call.by(Hook, "group", group.meta.name)
        self.now = call.now
        self.due: list[float] = []

    @property
    def members(self) -> list[Member]:
        return [one for one in self.all if not one.warm]

    @property
    def pool(self) -> list[Member]:
        return [one for one in self.all if one.warm]

    @property
    def capacity(self) -> int:
        """In units: of a group without weights, instances."""
        return sum(one.units for one in self.members)

    def begin(self) -> None:
        """Before anything is decided of one more member. PassFull."""
        if self.transaction.size > LIMIT_OPERATIONS:
            raise PassFull

    def suspended(self, process: str) -> bool:
        return process in self.group.spec.suspended

    def change(self, member: Member, **fields: Any) -> Member:
        """The member with other fields of its spec; a new state notes the time."""
        if "state" in fields and fields["state"] != member.spec.state:
            fields.setdefault("since", self.now)
        after = msgspec.structs.replace(member, spec=msgspec.structs.replace(member.spec, **fields))
        if after != member:
            self.transaction.update(after)
            self.all[self._place(member)] = after
        return after

    def change_group(self, **fields: Any) -> None:
        self.group = msgspec.structs.replace(self.group, spec=msgspec.structs.replace(self.group.spec, **fields))
        self.transaction.update(self.group)

    def forget(self, member: Member) -> None:
        """It is no member any more."""
        del self.all[self._place(member)]
        self.transaction.delete(member)

    def serve(self, member: Member) -> Member:
        """It serves from now on, in the target groups too. PassFull."""
        self.begin()
        if not self.suspended("AddToLoadBalancer"):
            register(self.call, self.transaction, self.group, member.meta.name)
        activities.end(self.call, self.transaction, member.spec.activity)
        return self.change(member, state="InService", in_service=self.now, activity="", waits=(), hooked=False)

    def begin_end(self, member: Member, why: str, *, returning: bool = False) -> Member:
        """It is to go: out of the target groups, past the hooks, then terminated, or to the warm pool (`returning`). `why`: the activity's cause.
        PassFull."""
        self.begin()
        activities.end(self.call, self.transaction, member.spec.activity, "Cancelled")
        activity = activities.begin(
            self.call, self.transaction, self.group, terminating(member.meta.name), why, what="terminate",
            instance=member.meta.name, zone=member.spec.zone,
        )  # fmt: skip
        deregister(self.call, self.transaction, self.group, member.meta.name)
        waits = waits_for(self.hooks, launching=False, now=self.now)
        state = ("Warmed:" if member.warm else "") + ("Terminating:Wait" if waits else "Terminating")
        fields = {"activity": activity.meta.name, "why": why, "waits": waits, "hooked": True, "returning": returning}
        ending = self.change(member, state=state, **fields)
        tell_waits(self.call, self.transaction, self.group, self.hooks, ending)
        return ending

    def _place(self, member: Member) -> int:
        return next(place for place, one in enumerate(self.all) if one.meta.name == member.meta.name)
