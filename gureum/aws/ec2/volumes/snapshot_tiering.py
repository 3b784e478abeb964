"""How snapshots come into the archive and back, after they were asked to (snapshot_tiers.py).

    archival-in-progress           the machine makes the archive, the blocks stay ─► archival-completed: the blocks go
    temporary-restore-in-progress  the machine makes the blocks, the archive stays ─► temporary-restore-completed
    its days are over              ─► archival-completed
    permanent-restore-in-progress  the same ─► permanent-restore-completed: the archive goes

A snapshot is of use until it is archived, and whatever is being made of it then is waited for.
"""

from __future__ import annotations

import msgspec

from gureum.aws.ec2.images.images import Image
from gureum.aws.ec2.instances.kinds import Volume
from gureum.aws.ec2.volumes.fast_restores import FastSnapshotRestore
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, Tiering
from gureum.core.world import World
from gureum.engine.client import Client
from gureum.engine.lowering import Desired
from gureum.engine.resource import key_of

DAY_S = 86400.0
AGAIN_AFTER_S = 5.0


def enabled_image(client: Client, snapshot: Snapshot) -> str:
    """An image that can be launched and has the snapshot, "" for none."""
    found = client.by(Image, snapshot.meta.scope, "snapshot", snapshot.meta.name)
    return next((image.meta.name for image in found if not image.spec.disabled), "")


async def follow_tiering(world: World, snapshot: Snapshot, wish: Desired) -> None:
    """The next step, when the machine has done the one before. `wish`: what it is to have of the snapshot now."""
    tiering, now = snapshot.status.tiering, world.clock.now()
    if tiering is None:
        return
    if tiering.operation == "temporary-restore-completed":
        if now < tiering.expires:
            world.poke(key_of(snapshot), tiering.expires - now)
        else:
            await _archive(world, snapshot, tiering, tiering.archived)
        return
    if not tiering.in_progress:
        return
    seen = world.seen(wish.id)
    if seen is not None and seen.phase == "failed":
        await _fail(world, snapshot, tiering, seen.reason)
    elif not world.is_current(wish):
        return
    elif tiering.operation == "archival-in-progress":
        await _archive(world, snapshot, tiering, now)
    elif tiering.operation == "temporary-restore-in-progress":
        done = msgspec.structs.replace(
            tiering, operation="temporary-restore-completed", expires=now + tiering.days * DAY_S
        )
        await _commit(world, snapshot, done)
    else:
        await _commit(world, snapshot, Tiering("permanent-restore-completed", tiering.started))


async def _archive(world: World, snapshot: Snapshot, tiering: Tiering, archived: float) -> None:
    image = enabled_image(world.client, snapshot)
    if image and not tiering.archived:
        await _fail(world, snapshot, tiering, f"The snapshot is used by the image {image}")
        return
    if _in_use(world.client, snapshot):
        world.poke(key_of(snapshot), AGAIN_AFTER_S)
        return
    # AWS: fast restore and sharing end with it.
    spec = msgspec.structs.replace(snapshot.spec, public=False, accounts=())
    done = msgspec.structs.replace(tiering, operation="archival-completed", archived=archived, days=0, expires=0.0)
    transaction = world.client.transaction()
    status = msgspec.structs.replace(snapshot.status, tiering=done)
    transaction.update(msgspec.structs.replace(snapshot, spec=spec, status=status))
    for one in world.client.everywhere(FastSnapshotRestore):
        if one.spec.snapshot == snapshot.meta.name:
            transaction.delete(one)
    await transaction.commit()
    world.events.record(key_of(snapshot), world.clock.now(), "Archived", "")


def _in_use(client: Client, snapshot: Snapshot) -> bool:
    """Whether something is being made of it: in any account that it is shared with."""
    name = snapshot.meta.name
    return any(one.spec.snapshot == name and not one.spec.restored for one in client.everywhere(Volume)) or any(
        one.spec.source == name and one.status.state == "pending" for one in client.everywhere(Snapshot)
    )


async def _fail(world: World, snapshot: Snapshot, tiering: Tiering, why: str) -> None:
    """It stays in the tier that it is in."""
    failed = tiering.operation.replace("in-progress", "failed")
    await _commit(world, snapshot, Tiering(failed, tiering.started, why, tiering.archived))
    world.events.record(key_of(snapshot), world.clock.now(), "TieringFailed", f"{failed}: {why}", warning=True)


async def _commit(world: World, snapshot: Snapshot, tiering: Tiering) -> None:
    transaction = world.client.transaction()
    status = msgspec.structs.replace(snapshot.status, tiering=tiering)
    transaction.update(msgspec.structs.replace(snapshot, status=status))
    await transaction.commit()
