"""Simulated nodes: pods on them are said to run, as soon as they are there; those of jobs are said to have succeeded. Nothing runs.

A pod that is no job's runs on, whatever its restart policy, as with the default stages of KWOK: a test (`helm test`) whose pod never ran must not
be told as passed. A node is simulated when it says so itself (annotation). `gureum kube nodes --simulated N` makes some.
"""

from __future__ import annotations

import zlib

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.index import PODS
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.objects import Object
from gureum.kube.times import timestamp

ANNOTATION = "gureum.dev/simulated"
NAME = "simulated-node"
NODES = "core/nodes"


def _of_pod(seen: Seen) -> list[str]:
    return [seen.event.key] if seen.after is not None and seen.after.node else []


async def reconcile(client: Client, key: str) -> None:
    pod = client.by_key(key)
    if pod is None:
        return
    node = client.get(NODES, "", pod["spec"].get("nodeName", ""))
    if node is None or (node["metadata"].get("annotations") or {}).get(ANNOTATION) != "true":
        return
    place = client.objects.place(key)
    if pod["metadata"].get("deletionTimestamp"):
        await client.delete(PODS, place.namespace, place.name, NAME, uid=pod["metadata"]["uid"], grace_s=0)
        return
    status = _status(pod, node, client.clock.now())
    if status is not None:
        await client.set_status(PODS, place.namespace, place.name, status, NAME, pod["metadata"]["uid"])


def _status(pod: Object, node: Object, now: float) -> Object | None:
    """What the pod is said to be; None when that is said already."""
    known = pod.get("status") or {}
    if known.get("phase") in ("Running", "Succeeded", "Failed"):
        return None
    moment = timestamp(now)
    done = any(one.get("kind") == "Job" for one in pod["metadata"].get("ownerReferences") or ())
    ready = "False" if done else "True"
    scheduled = [one for one in known.get("conditions") or () if one.get("type") == "PodScheduled"]
    conditions = [
        {"type": type_, "status": status, "lastProbeTime": None, "lastTransitionTime": moment}
        for type_, status in (("Initialized", "True"), ("Ready", ready), ("ContainersReady", ready))
    ]
    if done:
        conditions[1]["reason"] = conditions[2]["reason"] = "PodCompleted"
    addresses = [
        one["address"] for one in (node.get("status") or {}).get("addresses") or () if one["type"] == "InternalIP"
    ]
    address = f"10.244.{zlib.crc32(pod['metadata']['uid'].encode()) % 65536 >> 8}.{zlib.crc32(pod['metadata']['uid'].encode()) % 254 + 1}"
    status = {
        **known,
        "phase": "Succeeded" if done else "Running",
        "conditions": [*conditions, *scheduled],
        "startTime": moment,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "containerStatuses": [_container(one, moment, done=done) for one in pod["spec"].get("containers") or ()],
    }
    if addresses:
        status |= {"hostIP": addresses[0], "hostIPs": [{"ip": addresses[0]}]}
    if pod["spec"].get("initContainers"):
        status["initContainerStatuses"] = [_container(one, moment, done=True) for one in pod["spec"]["initContainers"]]
    return status


def _container(container: Object, moment: str, *, done: bool) -> Object:
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": moment, "finishedAt": moment}
    return {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": "",
        "restartCount": 0,
        "ready": not done,
        "started": not done,
        "state": {"terminated": ended} if done else {"running": {"startedAt": moment}},
        "lastState": {},
    }


SIMULATED_NODES = Controller("simulated-nodes", {PODS: _of_pod}, reconcile)
