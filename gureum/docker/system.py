"""Ping, version, info, disk usage, events, logins: what clients ask of the whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

from gureum import __version__
from gureum.docker.call import Call, operation
from gureum.docker.containers.options import iso
from gureum.docker.errors import bad_parameter
from gureum.docker.events import Events
from gureum.docker.filters import moment
from gureum.docker.images.references import DEFAULT_DOMAIN, Reference
from gureum.docker.images.registry_auth import Auth
from gureum.docker.images.registry_talks import Talk, Talks
from gureum.docker.kinds import SCOPE, Container, Image

_CGROUPS = "2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "1"
API_VERSION, MIN_API_VERSION = "1.51", "1.24"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
ENGINE_VERSION = "28.3.0"
"""Of the Docker Engine whose API this is; clients look at it for what they may ask."""


@operation("GET", "/_ping")
async def ping(call: Call) -> None:
    _ping_headers(call)
    await call.responder.send(200, b"OK", "text/plain; charset=utf-8")


@operation("HEAD", "/_ping")
async def ping_head(call: Call) -> None:
    _ping_headers(call)
    await call.responder.send(200, b"", "text/plain; charset=utf-8")


def _ping_headers(call: Call) -> None:
    call.responder.headers |= {
        "Builder-Version": "1",
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
        "Swarm": "inactive",
    }


@operation("GET", "/version")
async def version(call: Call) -> None:
    kernel = platform.release()
    details = {
        "ApiVersion": API_VERSION,
        "Arch": ARCHITECTURE,
        "KernelVersion": kernel,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
    }
    await call.send(
        200,
        {
            "Platform": {"Name": f"gureum {__version__}"},
            "Components": [{"Name": "Engine", "Version": ENGINE_VERSION, "Details": details}],
            "Version": ENGINE_VERSION,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": ARCHITECTURE,
            "KernelVersion": kernel,
        },
    )


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _release() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return "Linux"


_ALWAYS: dict[str, Any] = {
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "host"]],
    "Plugins": {
        "Volume": ["local"],
        "Network": ["bridge", "host", "null"],
        "Authorization": None,
        "Log": ["json-file", "local"],
    },
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsPeriod": True,
    "CpuCfsQuota": True,
    "CPUShares": True,
    "CPUSet": True,
    "PidsLimit": True,
    "IPv4Forwarding": True,
    "BridgeNfIptables": False,
    "BridgeNfIp6tables": False,
    "Debug": False,
    "NFd": 0,
    "OomKillDisable": False,
    "NGoroutines": 0,
    "LoggingDriver": "json-file",
    "CgroupDriver": "cgroupfs",
    "CgroupVersion": _CGROUPS,
    "NEventsListener": 0,
    "OSVersion": "",
    "OSType": "linux",
    "IndexServerAddress": "https://index.docker.io/v1/",
    "RegistryConfig": {
        "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128"],
        "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}},
        "Mirrors": [],
    },
    "GenericResources": None,
    "HttpProxy": "",
    "HttpsProxy": "",
    "NoProxy": "",
    "Labels": [],
    "ExperimentalBuild": False,
    "ServerVersion": ENGINE_VERSION,
    "Runtimes": {"runc": {"path": "crun"}},
    "DefaultRuntime": "runc",
    "Swarm": {
        "NodeID": "",
        "NodeAddr": "",
        "LocalNodeState": "inactive",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": None,
    },
    "LiveRestoreEnabled": True,
    "Isolation": "",
    "InitBinary": "docker-init",
    "ContainerdCommit": {"ID": ""},
    "RuncCommit": {"ID": ""},
    "InitCommit": {"ID": ""},
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns", "name=cgroupns"],
    "CDISpecDirs": [],
    "Warnings": None,
}
"""What /info says of every gureum. Fields that have no meaning here are as of an Engine that does not use them."""


@operation("GET", "/info")
async def info(call: Call) -> None:
    containers = call.client.all(Container, SCOPE)
    running = [one for one in containers if one.status.state in ("running", "restarting")]
    paused = [one for one in running if one.spec.paused]
    of_now = {
        "ID": str(uuid.uuid5(uuid.NAMESPACE_URL, f"file://{platform.node()}{call.world.settings.home}")),
        "Containers": len(containers),
        "ContainersRunning": len(running) - len(paused),
        "ContainersPaused": len(paused),
        "ContainersStopped": len(containers) - len(running),
        "Images": len(call.client.all(Image, SCOPE)),
        "SystemTime": iso(call.now),
        "KernelVersion": platform.release(),
        "OperatingSystem": _release(),
        "Architecture": platform.machine(),
        "NCPU": os.cpu_count() or 1,
        "MemTotal": _memory_bytes(),
        "DockerRootDir": call.world.settings.home,
        "Name": platform.node(),
    }
    await call.send(200, _ALWAYS | of_now)


@operation("POST", "/auth")
async def log_in(call: Call) -> None:
    """Docker: SystemAuth: asks the registry. 401 when it does not take these words."""
    body = await call.json("registry.AuthConfig")
    if not body.get("username") and not body.get("identitytoken"):
        raise bad_parameter("no credentials were given")
    address = str(body.get("serveraddress") or DEFAULT_DOMAIN)
    host = urllib.parse.urlsplit(address if "://" in address else f"https://{address}").netloc
    domain = DEFAULT_DOMAIN if host in ("index.docker.io", DEFAULT_DOMAIN) else host

    def ask(talk: Talk) -> str:
        return talk.registry(Reference(domain, "")).log_in()

    identity = await call.world.part(Talks).run(Auth.of(body), ask)
    await call.send(200, {"Status": "Login Succeeded", "IdentityToken": identity})


_ACTORS = ("container", "volume", "network", "daemon", "plugin", "node", "service", "secret", "config")


@operation("GET", "/events")
async def events(call: Call) -> None:
    """Docker: SystemEvents: those that are kept since `since`, then what comes, until `until`. Filters that there are not are passed over, as
    there."""
    wanted = call.filters()
    since, until = (_moment(call, name) for name in ("since", "until"))
    if until and since > until:
        raise bad_parameter(f"`since` time ({call.text('since')}) cannot be after `until` time ({call.text('until')})")
    log = call.world.part(Events)
    queue, stop = log.listen()
    leaving = asyncio.ensure_future(call.responder.left())
    try:
        await call.responder.begin()
        for event in log.since(since) if since else ():
            if _fits(event, wanted) and (not until or event["timeNano"] / 1e9 <= until):
                await call.responder.write_json(event)
        while not until or call.now < until:
            coming = asyncio.ensure_future(queue.get())
            limit = until - call.now if until else None
            await asyncio.wait({coming, leaving}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                break
            if _fits(coming.result(), wanted):
                await call.responder.write_json(coming.result())
        await call.responder.finish()
    finally:
        stop()
        leaving.cancel()


def _moment(call: Call, name: str) -> float:
    text = call.text(name)
    return moment(text, call.now) if text else 0.0


def _fits(event: dict[str, Any], wanted: dict[str, list[str]]) -> bool:
    kind, actor = event["Type"], event["Actor"]
    attributes = actor["Attributes"]

    def named(key: str) -> bool:
        if key not in wanted:
            return True
        return kind == key and any(
            text == attributes.get("name") or actor["ID"].startswith(text) for text in wanted[key]
        )

    return (
        ("type" not in wanted or kind in wanted["type"])
        and (
            "event" not in wanted
            or any(event["Action"].partition(":")[0] == text or event["Action"] == text for text in wanted["event"])
        )
        and ("scope" not in wanted or event["scope"] in wanted["scope"])
        and all(named(key) for key in _ACTORS)
        and (
            "image" not in wanted
            or any(text in (attributes.get("image"), attributes.get("name"), actor["ID"]) for text in wanted["image"])
        )
        and all(
            attributes.get(text.partition("=")[0]) == text.partition("=")[2] if "=" in text else text in attributes
            for text in wanted.get("label", ())
        )
    )
