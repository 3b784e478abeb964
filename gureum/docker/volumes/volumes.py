"""Volumes: folders with names, which outlive containers."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

from gureum.docker import filters, find, sizes
from gureum.docker.call import Call, operation
from gureum.docker.containers.options import iso
from gureum.docker.containers.show import mountpoint
from gureum.docker.errors import bad_parameter, conflict, not_found
from gureum.docker.events import Events
from gureum.docker.kinds import SCOPE, Container, Volume, VolumeSpec
from gureum.docker.volumes import options as volume_options
from gureum.engine.client import Client, Transaction
from gureum.engine.resource import Meta

_GO_TRUE, _GO_FALSE = (
    frozenset({"1", "t", "T", "true", "TRUE", "True"}),
    frozenset({"0", "f", "F", "false", "FALSE", "False"}),
)


def shown(call: Call, volume: Volume) -> dict[str, Any]:
    return {
        "CreatedAt": iso(float(int(volume.meta.created))),
        "Driver": volume.spec.driver,
        "Labels": volume.spec.labels or None,
        "Mountpoint": mountpoint(call.world, volume),
        "Name": volume.meta.name,
        "Options": volume.spec.options or None,
        "Scope": "local",
    }


_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


@operation("GET", "/volumes")
async def list_volumes(call: Call) -> None:
    fits = _filter(call, call.filters())
    await call.send(200, {"Volumes": [shown(call, one) for one in by_name(call.client) if fits(one)], "Warnings": None})


def by_name(client: Client) -> list[Volume]:
    return sorted(client.all(Volume, SCOPE), key=lambda one: one.meta.name)


def _filter(call: Call, wanted: filters.Wanted) -> Callable[[Volume], bool]:
    filters.check(wanted, ("dangling", "driver", "label", "name"))
    dangling, name_fits = filters.truth(wanted, "dangling", False), filters.names(wanted, "name")

    def fits(one: Volume) -> bool:
        used = bool(call.client.by(Container, SCOPE, "volume", one.meta.name))
        return (
            name_fits(one.meta.name)
            and ("dangling" not in wanted or used != dangling)
            and ("driver" not in wanted or one.spec.driver in wanted["driver"])
            and filters.label_matches(one.spec.labels, wanted)
        )

    return fits


@operation("POST", "/volumes/create")
async def create_volume(call: Call) -> None:
    """Docker: VolumeCreate: of one that is there it is a look."""
    body = await call.json("volume.CreateOptions")
    name, driver = str(body.get("Name") or "") or secrets.token_hex(32), str(body.get("Driver") or "local")
    check_volume_name(name)
    options = {str(key): str(value) for key, value in (body.get("DriverOpts") or {}).items()}
    if driver != "local":
        raise not_found(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
    volume_options.backing(options)
    anonymous = not body.get("Name")

    def decide(transaction: Transaction) -> tuple[Volume, bool]:
        known = call.client.get(Volume, SCOPE, name)
        if known is not None:
            return known, False
        labels = {str(key): str(value) for key, value in (body.get("Labels") or {}).items()}
        if anonymous:
            labels.setdefault("com.docker.volume.anonymous", "")
        spec = VolumeSpec(f"dv-{secrets.token_hex(8)}", options=options, labels=labels, anonymous=anonymous)
        meta = Meta(SCOPE, name, secrets.token_hex(16), call.now)
        return transaction.create(Volume(meta=meta, spec=spec)), True

    made, fresh = await call.commit(decide)
    if fresh:
        call.world.part(Events).add("volume", "create", name, {"driver": driver})
    await call.send(201, shown(call, made))


@operation("GET", "/volumes/{name}")
async def inspect_volume(call: Call) -> None:
    await call.send(200, shown(call, find.volume(call.client, call.args["name"])))


@operation("DELETE", "/volumes/{name}")
async def remove_volume(call: Call) -> None:
    name = call.args["name"]
    if call.client.get(Volume, SCOPE, name) is None and call.flag("force"):
        await call.responder.send(204)
        return
    await remove_now(call, find.volume(call.client, name))
    await call.responder.send(204)


async def remove_now(call: Call, volume: Volume) -> None:
    name = volume.meta.name

    def decide(transaction: Transaction) -> None:
        users = call.client.by(Container, SCOPE, "volume", name)
        if users:
            raise conflict(f"remove {name}: volume is in use - [{', '.join(one.meta.name for one in users)}]")
        transaction.require_no_newer(Container, SCOPE)
        current = call.client.get(Volume, SCOPE, name)
        if current is not None:
            transaction.delete(current)

    await call.commit(decide)
    call.world.part(Events).add("volume", "destroy", name, {"driver": "local"})


@operation("POST", "/volumes/prune")
async def prune_volumes(call: Call) -> None:
    """Docker: VolumePrune: those without a name that nobody uses; with all=true also those with one."""
    wanted = call.filters()
    filters.check(wanted, ("label", "label!", *(("all",) if call.version >= (1, 42) else ())))
    everything = _all(wanted) or call.version < (1, 42)
    removed, freed = [], 0
    for volume in call.client.all(Volume, SCOPE):
        used = call.client.by(Container, SCOPE, "volume", volume.meta.name)
        if used or not (everything or volume.spec.anonymous) or not filters.label_matches(volume.spec.labels, wanted):
            continue
        size = await sizes.of_volume(call.world, volume)
        await remove_now(call, volume)
        freed += size
        removed.append(volume.meta.name)
    call.world.part(Events).add("volume", "prune", "", {"reclaimed": str(freed)})
    await call.send(200, {"VolumesDeleted": removed or None, "SpaceReclaimed": freed})


def _all(wanted: filters.Wanted) -> bool:
    """In Go's words of truth, unlike other filters."""
    values = wanted.get("all", [])
    if len(values) > 1:
        raise bad_parameter(f"invalid filter 'all=[{' '.join(values)}]': only one value is expected")
    word = values[0] if values else "false"
    if word not in _GO_TRUE | _GO_FALSE:
        raise bad_parameter(f"invalid filter 'all': strconv.ParseBool: parsing \"{word}\": invalid syntax")
    return word in _GO_TRUE


def check_volume_name(name: str) -> None:
    if not _VOLUME_NAME.fullmatch(name) or len(name) > 255:
        raise bad_parameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
