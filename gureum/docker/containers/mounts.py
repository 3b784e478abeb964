"""What is mounted in a container that is being created: volumes, folders of the host, memory; by `-v`, `--mount`, `--tmpfs` and `--volumes-from`.

What is not as Docker wants it is refused here. Volumes that there are not yet are made in the container's own commit.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gureum.docker import find
from gureum.docker.call import Call
from gureum.docker.errors import bad_parameter, not_built
from gureum.docker.kinds import (
    SCOPE,
    MountPoint,
    Volume,
    VolumeSpec,
)
from gureum.docker.volumes import mount_checks
from gureum.docker.volumes import options as volume_options
from gureum.docker.volumes.volumes import check_volume_name
from gureum.engine.client import Transaction
from gureum.engine.resource import Meta


def mounts_of(
    call: Call, transaction: Transaction, config: dict[str, Any], host: dict[str, Any]
) -> tuple[MountPoint, ...]:
    found: dict[str, MountPoint] = {}
    for target in config.get("Volumes") or {}:
        found[_target(target)] = MountPoint("volume", _target(target), anonymous=True)
    for text in host.get("VolumesFrom") or ():
        found |= {mount.target: mount for mount in _volumes_from(call, str(text))}
    memory = [
        MountPoint("tmpfs", _target(target), options=str(text)) for target, text in (host.get("Tmpfs") or {}).items()
    ]
    asked = [
        *(_bind(str(text)) for text in host.get("Binds") or ()),
        *(_mount(dict(one)) for one in host.get("Mounts") or ()),
    ]
    taken = {mount.target for mount in memory}
    for mount in asked:
        if mount.target in taken:
            raise mount_checks.duplicate(mount.target)
        taken.add(mount.target)
    found |= {mount.target: mount for mount in (*asked, *memory)}
    driver = str(host.get("VolumeDriver") or "local")
    return tuple(_with_volume(call, transaction, mount, driver) for mount in found.values())


def _volumes_from(call: Call, text: str) -> Iterator[MountPoint]:
    """All that the other has mounted, "NAME:ro" for reading only. What the image has there is not copied again."""
    name, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise bad_parameter(f"invalid mode for volumes-from: {mode}")
    for mount in find.other_container(call.client, name).spec.mounts:
        if mount.type != "tmpfs":
            yield msgspec.structs.replace(mount, writable=mount.writable and mode != "ro", copy=False, anonymous=False)


def _target(text: str) -> str:
    target = "/" + "/".join(part for part in str(text).split("/") if part not in ("", "."))
    if not str(text).startswith("/"):
        raise bad_parameter(f"invalid mount config: invalid mount path: '{text}' mount path must be absolute")
    if target == "/" or ".." in target.split("/"):
        raise bad_parameter("invalid volume specification: destination can't be '/'")
    return target


def _bind(text: str) -> MountPoint:
    """ "/host:/inside:ro", "name:/inside"."""
    parts = text.split(":")
    if len(parts) == 1:
        return MountPoint("volume", _target(parts[0]), anonymous=True)
    if len(parts) > 3 or not parts[0]:
        raise bad_parameter(f"invalid volume specification: '{text}'")
    modes = parts[2].split(",") if len(parts) == 3 else []
    known = {"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent", *_PROPAGATIONS}
    if not set(modes) <= known:
        raise bad_parameter(f"invalid mode: {parts[2]}")
    mode, target = ",".join(modes), _target(parts[1])
    if parts[0].startswith("/"):
        propagation = next((one for one in modes if one in _PROPAGATIONS), "rprivate")
        return MountPoint(
            "bind", target, parts[0], writable="ro" not in modes, mode=mode, propagation=propagation, options="make"
        )
    check_volume_name(parts[0])
    return MountPoint(
        "volume", target, name=parts[0], writable="ro" not in modes, copy="nocopy" not in modes, mode=mode or "z"
    )


_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def _mount(one: dict[str, Any]) -> MountPoint:
    """One of HostConfig.Mounts (`--mount`)."""
    mount_checks.check_fields(one)
    kind, target, writable = one.get("Type"), _target(str(one.get("Target") or "")), not one.get("ReadOnly")
    if kind == "bind":
        return _bind_mount(target, str(one.get("Source") or ""), one.get("BindOptions") or {}, writable=writable)
    if kind == "volume":
        return _volume_mount(target, str(one.get("Source") or ""), one.get("VolumeOptions") or {}, writable=writable)
    if kind == "tmpfs":
        wish = one.get("TmpfsOptions") or {}
        words = [f"size={wish['SizeBytes']}"] if wish.get("SizeBytes") else []
        words += [f"mode={wish['Mode']:o}"] if wish.get("Mode") else []
        return MountPoint("tmpfs", target, options=",".join([*words, *([] if writable else ["ro"])]))
    if kind in ("image", "cluster", "npipe"):
        raise not_built(f"mounts of the type {kind}")
    raise mount_checks.unknown_kind(kind)


def _bind_mount(target: str, source: str, wish: dict[str, Any], *, writable: bool) -> MountPoint:
    if not source.startswith("/"):
        raise bad_parameter(
            f"invalid mount config for type \"bind\": invalid mount path: '{source}' mount path must be absolute"
        )
    if wish.get("NonRecursive") or wish.get("ReadOnlyForceRecursive"):
        raise not_built("bind mounts that leave out or change what is mounted below (bind-recursive)")
    propagation = str(wish.get("Propagation") or "rprivate")
    if not wish.get("CreateMountpoint") and not Path(source).exists():
        raise bad_parameter(f'invalid mount config for type "bind": bind source path does not exist: {source}')
    options = "make" if wish.get("CreateMountpoint") else ""
    return MountPoint("bind", target, source, writable=writable, propagation=propagation, options=options)


def _volume_mount(target: str, source: str, wish: dict[str, Any], *, writable: bool) -> MountPoint:
    if source:
        check_volume_name(source)
    if wish.get("Subpath"):
        raise not_built("a part of a volume (volume-subpath)")
    driver = wish.get("DriverConfig") or {}
    if str(driver.get("Name") or "local") != "local":
        raise not_built(f"the volume driver {driver['Name']}")
    given = driver.get("Options") or {}
    volume_options.backing(given)
    return MountPoint(
        "volume",
        target,
        name=source,
        writable=writable,
        copy=not wish.get("NoCopy"),
        mode="z",
        anonymous=not source,
        labels=wish.get("Labels") or {},
        driver_options=given,
    )


def _with_volume(call: Call, transaction: Transaction, mount: MountPoint, driver: str) -> MountPoint:
    """A volume that there is not yet is made; `driver`: by whom."""
    if mount.type != "volume":
        return mount
    name = mount.name or secrets.token_hex(32)
    if call.client.get(Volume, SCOPE, name) is None:
        if driver != "local":
            raise not_built(f"the volume driver {driver}")
        labels = {**mount.labels, **({"com.docker.volume.anonymous": ""} if mount.anonymous else {})}
        spec = VolumeSpec(
            f"dv-{secrets.token_hex(8)}", options=mount.driver_options, labels=labels, anonymous=mount.anonymous
        )
        transaction.create(Volume(meta=Meta(SCOPE, name, secrets.token_hex(16), call.now), spec=spec))
    return msgspec.structs.replace(mount, name=name)
