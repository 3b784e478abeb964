"""Pod security levels, in the words of the original (Kubernetes, "Pod Security Admission"; k8s.io/pod-security-admission)."""

from __future__ import annotations

import asyncio

import pytest

from gureum.kube.admission.pod_security import policy_of
from gureum.kube.admission.pod_security_checks import violations
from tests.kube.api import STRATEGIC, Api

PODS = "/api/v1/namespaces/tight/pods"
SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
PREFIX = "pod-security.kubernetes.io/"
BARE = (
    'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
)


def pod(name="p", context=None, **spec):
    container = {"name": "a", "image": "busybox"} | ({"securityContext": context} if context else {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "automountServiceAccountToken": False, **spec},
    }


def namespace(**labels):
    named = {PREFIX + name.replace("_", "-"): value for name, value in labels.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tight", "labels": named}}


def warnings(response):
    return response.headers.get("warning", "")


def test_a_pod_that_violates_the_enforced_level_is_refused():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/namespaces", namespace(enforce="restricted"))
            status, answer = await api.call("POST", PODS, pod())
            assert status == 403
            assert answer["message"] == f'pods "p" is forbidden: violates PodSecurity "restricted:latest": {BARE}'
            assert (await api.ok("GET", PODS))["items"] == []
            await api.ok("POST", PODS, pod(context=SAFE))
            # What is projected for the service account's token is no volume that the level minds.
            await api.ok("POST", PODS, pod("q", SAFE, automountServiceAccountToken=True))

    asyncio.run(run())


def test_who_makes_pods_is_warned_and_goes_on():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/namespaces", namespace(warn="restricted", enforce="baseline"))
            response = await api.respond("POST", PODS, pod())
            assert response.status == 201
            quoted = BARE.replace('"', '\\"')
            assert warnings(response) == f'299 - "would violate PodSecurity \\"restricted:latest\\": {quoted}"'
            labels = {"app": "a"}
            template = {"metadata": {"labels": labels}, "spec": pod(hostNetwork=True)["spec"]}
            deployment = {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "d"},
                "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
            }
            response = await api.respond("POST", "/apis/apps/v1/namespaces/tight/deployments", deployment)
            assert response.status == 201
            assert "host namespaces (hostNetwork), allowPrivilegeEscalation" in warnings(response)

    asyncio.run(run())


def test_a_stricter_label_warns_of_the_pods_that_are_there():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/namespaces", namespace())
            for name in ("b", "c", "d"):
                await api.ok("POST", PODS, pod(name, {"privileged": True}))
            await api.ok("POST", PODS, pod("safe", SAFE))
            patch = {"metadata": {"labels": {PREFIX + "enforce": "baseline"}}}
            path = "/api/v1/namespaces/tight"
            response = await api.respond("PATCH", path, patch, content_type=STRATEGIC)
            assert response.status == 200
            assert warnings(response) == (
                '299 - "existing pods in namespace \\"tight\\" violate the new PodSecurity enforce level \\"baseline:latest\\"", '
                '299 - "b (and 2 other pods): privileged"'
            )
            # They stay, and may be changed but for what is judged.
            await api.patch(f"{PODS}/b", {"metadata": {"labels": {"x": "y"}}})
            other = {"spec": {"containers": [{"name": "a", "image": "other"}]}}
            status, answer = await api.call("PATCH", f"{PODS}/b", other, content_type=STRATEGIC)
            assert (status, "violates PodSecurity" in answer["message"]) == (403, True)

    asyncio.run(run())


def test_labels_must_be_understood():
    async def run():
        async with Api() as api:
            status, answer = await api.call("POST", "/api/v1/namespaces", namespace(enforce="strict", warn_version="2"))
            assert status == 422
            assert answer["message"] == (
                'Namespace "tight" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": '
                "must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: "
                'Invalid value: "2": must be "latest" or "v1.x"]'
            )

    asyncio.run(run())


def test_an_enforced_level_is_also_warned_of():
    assert policy_of({PREFIX + "enforce": "baseline", PREFIX + "enforce-version": "v1.30"}).warn == (
        "baseline",
        "v1.30",
    )
    assert policy_of({PREFIX + "enforce": "baseline", PREFIX + "warn": "privileged"}).warn.name == "privileged"


@pytest.mark.parametrize(
    ("spec", "context", "reason", "detail"),
    [
        ({"hostPID": True, "hostIPC": True}, {}, "host namespaces", "hostIPC, hostPID"),
        ({}, {"capabilities": {"add": ["NET_ADMIN", "KILL"]}}, "non-default capabilities",
         'container "a" must not include "NET_ADMIN" in securityContext.capabilities.add'),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, {}, "hostPath volumes", 'volume "v"'),
        ({}, {"procMount": "Unmasked"}, "procMount", 'container "a" must not set securityContext.procMount to "Unmasked"'),
        ({"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}}, {}, "seLinuxOptions",
         'pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set'),
        ({}, {"seccompProfile": {"type": "Unconfined"}}, "seccompProfile",
         'container "a" must not set securityContext.seccompProfile.type to "Unconfined"'),
        ({"securityContext": {"sysctls": [{"name": "kernel.sem", "value": "1"}]}}, {}, "forbidden sysctls", "kernel.sem"),
        ({"securityContext": {"windowsOptions": {"hostProcess": True}}}, {}, "hostProcess",
         "pod must not set securityContext.windowsOptions.hostProcess=true"),
        ({}, {"appArmorProfile": {"type": "Unconfined"}}, "forbidden AppArmor profile",
         'container "a" must not set AppArmor profile type to "Unconfined"'),
    ],
)  # fmt: skip
def test_baseline_checks(spec, context, reason, detail):
    assert violations("baseline", 34, {}, pod(context=context, **spec)["spec"]) == [(reason, detail)]
    assert violations("privileged", 34, {}, pod(context=context, **spec)["spec"]) == []


def test_ports_and_probes_of_the_host():
    one = {"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 9}], "livenessProbe": {"httpGet": {"host": "h"}}}
    assert violations("baseline", 34, {}, {"containers": [one]}) == [
        ("hostPort", 'container "a" uses hostPorts 80, 9'),
        ("probe or lifecycle host", 'container "a" uses probe or lifecycle host "h"'),
    ]
    assert [reason for reason, _ in violations("baseline", 33, {}, {"containers": [one]})] == ["hostPort"]


def test_restricted_says_more_strictly_what_baseline_says():
    spec = pod(context=SAFE | {"runAsUser": 0}, volumes=[{"name": "v", "hostPath": {"path": "/"}}])["spec"]
    assert violations("restricted", 34, {}, spec) == [
        ("restricted volume types", 'volume "v" uses restricted volume type "hostPath"'),
        ("runAsUser=0", 'container "a" must not set runAsUser=0'),
    ]
    assert violations("restricted", 22, {}, spec) == [
        ("restricted volume types", 'volume "v" uses restricted volume type "hostPath"')
    ]
