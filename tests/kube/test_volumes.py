"""Volumes that somebody made, and claims: bound by size, class, modes and labels; released; held while they are used."""

from __future__ import annotations

import asyncio

from gureum.store.memory import MemoryStore
from tests.kube.api import Api
from tests.kube.test_controllers import PODS, node, until

VOLUMES = "/api/v1/persistentvolumes"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
EVENTS = "/api/v1/namespaces/default/events"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


def volume(name="v1", size="1Gi", **spec):
    labels = spec.pop("labels", {})
    spec = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}, **spec}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def claim(name="c1", size="1Gi", **spec):
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": {"name": name}, "spec": spec}


def pod(name, claim_name):
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}]
    return {
        "metadata": {"name": name},
        "spec": {"volumes": volumes, "containers": [{"name": "c", "image": "nginx:1"}]},
    }


async def phase(api, path, wanted):
    async def look():
        found = await api.ok("GET", path)
        return found if found["status"].get("phase") == wanted else None

    return await until(look)


async def told(api, reason):
    async def look():
        events = (await api.ok("GET", EVENTS))["items"]
        return next((one["message"] for one in events if one["reason"] == reason), None)

    return await until(look)


def test_a_claim_gets_the_smallest_volume_that_fits_and_leaves_it_released():
    async def run():
        async with Api() as api:
            for made in (
                volume("large", "10Gi"),
                volume("small", "2Gi"),
                volume("tiny", "1Gi"),
                volume("classy", "2Gi", storageClassName="fast"),
                volume("many", "2Gi", accessModes=["ReadOnlyMany"]),
            ):
                await api.ok("POST", VOLUMES, made)
            await api.ok("POST", CLAIMS, claim(size="1500Mi"))
            bound = await phase(api, f"{CLAIMS}/c1", "Bound")
            assert bound["spec"]["volumeName"] == "small"
            assert bound["status"]["capacity"] == {"storage": "2Gi"}
            annotations = bound["metadata"]["annotations"]
            assert annotations["pv.kubernetes.io/bind-completed"] == "yes"
            assert annotations["pv.kubernetes.io/bound-by-controller"] == "yes"
            kept = await phase(api, f"{VOLUMES}/small", "Bound")
            assert kept["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
            await phase(api, f"{VOLUMES}/large", "Available")

            await api.ok("DELETE", f"{VOLUMES}/small")
            assert (await api.ok("GET", f"{VOLUMES}/small"))["metadata"]["deletionTimestamp"]
            await api.ok("DELETE", f"{CLAIMS}/c1")

            async def gone():
                return (await api.call("GET", f"{VOLUMES}/small"))[0] == 404

            await until(gone)

            await api.ok("POST", CLAIMS, claim("c2", "1Gi"))
            await phase(api, f"{CLAIMS}/c2", "Bound")
            await api.ok("DELETE", f"{CLAIMS}/c2")
            await phase(api, f"{VOLUMES}/tiny", "Released")
            await api.ok("POST", CLAIMS, claim("c3", "20Gi"))
            text = await told(api, "FailedBinding")
            assert text == "no persistent volumes available for this claim and no storage class is set"
            assert (await api.ok("GET", f"{CLAIMS}/c3"))["status"]["phase"] == "Pending"
            # A volume that comes later is taken, by its labels.
            await api.ok("POST", CLAIMS, claim("c4", selector={"matchLabels": {"disk": "a"}}))
            await api.ok("POST", VOLUMES, volume("late", labels={"disk": "a"}, persistentVolumeReclaimPolicy="Delete"))
            assert (await phase(api, f"{CLAIMS}/c4", "Bound"))["spec"]["volumeName"] == "late"
            await api.ok("DELETE", f"{CLAIMS}/c4")
            failed = await phase(api, f"{VOLUMES}/late", "Failed")
            assert failed["status"]["message"].endswith("no volume plugin matched")

    asyncio.run(run())


def test_a_claim_whose_volume_vanished_is_lost():
    async def run():
        async with Api() as api:
            await api.ok("POST", VOLUMES, volume(claimRef={"namespace": "default", "name": "c1"}))
            await api.ok("POST", CLAIMS, claim("other"))
            await api.ok("POST", CLAIMS, claim("c1"))
            await phase(api, f"{CLAIMS}/c1", "Bound")
            assert (await api.ok("GET", f"{CLAIMS}/other"))["status"]["phase"] == "Pending"
            await api.ok("DELETE", f"{VOLUMES}/v1")
            await api.patch(f"{VOLUMES}/v1", {"metadata": {"finalizers": None}})
            await phase(api, f"{CLAIMS}/c1", "Lost")
            assert (
                await told(api, "ClaimLost") == "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            )

    asyncio.run(run())


def test_pods_wait_for_their_claims_and_claims_for_their_pods():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node("n1"))
            here = node("n2")
            here["metadata"]["labels"] = {"disk": "yes"}
            await api.ok("POST", "/api/v1/nodes", here)
            await api.ok("POST", CLAIMS, claim("c1"))
            await api.ok("POST", PODS, pod("p1", "c1"))
            text = "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
            assert (await told(api, "FailedScheduling")).startswith(text)
            await api.ok("POST", VOLUMES, volume("v1"))
            await phase(api, f"{PODS}/p1", "Running")

            later = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
            await api.ok("POST", CLASSES, {"metadata": {"name": "local"}, **later})
            terms = [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["yes"]}]}]
            affinity = {"required": {"nodeSelectorTerms": terms}}
            await api.ok("POST", VOLUMES, volume("v2", storageClassName="local", nodeAffinity=affinity))
            await api.ok("POST", CLAIMS, claim("c2", storageClassName="local"))
            text = "waiting for first consumer to be created before binding"
            assert await told(api, "WaitForFirstConsumer") == text
            await api.ok("POST", PODS, pod("p2", "c2"))
            await phase(api, f"{CLAIMS}/c2", "Bound")
            assert (await phase(api, f"{PODS}/p2", "Running"))["spec"]["nodeName"] == "n2"

    asyncio.run(run())


def test_a_class_that_is_the_default_has_its_provisioner_told():
    async def run():
        async with Api() as api:
            mark = {"storageclass.kubernetes.io/is-default-class": "true"}
            made = {"metadata": {"name": "standard", "annotations": mark}, "provisioner": "example.com/disks"}
            await api.ok("POST", CLASSES, made)
            await api.ok("POST", CLAIMS, claim())
            assert (await told(api, "ExternalProvisioning")).startswith(
                "Waiting for a volume to be created either by the"
            )
            waiting = await api.ok("GET", f"{CLAIMS}/c1")
            assert waiting["spec"]["storageClassName"] == "standard"
            assert waiting["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"] == "example.com/disks"

    asyncio.run(run())


def test_what_was_begun_before_a_restart_goes_on():
    async def run():
        store = MemoryStore()
        async with Api(store) as api:
            # Its controllers are gone in the middle: the claim is marked for its provisioner, another is freed.
            await api.cluster.controllers.close()
            await api.ok("POST", "/api/v1/persistentvolumes", volume("freed", persistentVolumeReclaimPolicy="Delete"))
            made = {"metadata": {"name": "simulated"}, "provisioner": "gureum.dev/simulated"}
            await api.ok("POST", CLASSES, made)
            marked = claim("c1", storageClassName="simulated")
            marked["metadata"]["annotations"] = {
                "volume.kubernetes.io/storage-provisioner": "gureum.dev/simulated",
            }
            await api.ok("POST", CLAIMS, marked)
            gone = {"namespace": "default", "name": "gone", "uid": "1"}
            await api.patch(f"{VOLUMES}/freed", {"spec": {"claimRef": gone}})
            await api.patch(f"{VOLUMES}/freed/status", {"status": {"phase": "Released"}})
        async with Api(store) as api:
            await phase(api, f"{CLAIMS}/c1", "Bound")
            await phase(api, f"{VOLUMES}/freed", "Failed")

    asyncio.run(run())


def test_simulated_volumes_come_and_go_with_their_claims():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node("n1"))
            made = {"metadata": {"name": "simulated"}, "provisioner": "gureum.dev/simulated"}
            await api.ok("POST", CLASSES, {**made, "volumeBindingMode": "WaitForFirstConsumer"})
            await api.ok("POST", CLAIMS, claim("c1", storageClassName="simulated"))
            await api.ok("POST", PODS, pod("p1", "c1"))
            await phase(api, f"{PODS}/p1", "Running")
            bound = await phase(api, f"{CLAIMS}/c1", "Bound")
            name = bound["spec"]["volumeName"]
            assert name == f"pvc-{bound['metadata']['uid']}"
            for path in (f"{PODS}/p1", f"{CLAIMS}/c1"):
                await api.ok("DELETE", path)

            async def gone():
                return (await api.call("GET", f"{VOLUMES}/{name}"))[0] == 404

            await until(gone)

    asyncio.run(run())
