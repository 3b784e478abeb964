"""What a pod's specification may not say, with the words of the original."""

from __future__ import annotations

import pytest

from gureum.kube.kinds.pods.checks import validate_template
from gureum.kube.kinds.pods.container_checks import port_name
from gureum.kube.kinds.pods.defaults import default_template
from gureum.kube.kinds.pods.pods import RULES


def judged(container=None, old=None, **spec):
    pod = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "x", **(container or {})}], **spec},
    }
    RULES["core/pods"].default(pod)
    return [f"{one.field}: {one.message}" for one in RULES["core/pods"].validate(pod, old)]


NEEDED, PREFERRED = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
FIELD = "spec.volumes[0].downwardAPI.items[0].fieldRef.fieldPath"
TOKEN = "spec.volumes[0].projected.sources[0].serviceAccountToken"
CHOICES = '"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"'
UNKNOWN = "error converting fieldPath: field label not supported: metadata.foo"
MODE = "Invalid value: 4096: must be a number between 0 and 0777 (octal), both inclusive"


def token(**members):
    return {"volumes": [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t", **members}}]}}]}


def of_files(path):
    return {"volumes": [{"name": "a", "downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": path}}]}}]}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"volumes": [{"name": "a", "hostPath": {"path": "/x/../y"}}]},
            "spec.volumes[0].hostPath.path: Invalid value: \"/x/../y\": must not contain '..'",
        ),
        ({"dnsPolicy": "None"}, "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        (
            {"dnsPolicy": "None", "dnsConfig": {}},
            "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
        ),
        (
            {"affinity": {"nodeAffinity": {NEEDED: {}}}},
            f"spec.affinity.nodeAffinity.{NEEDED}.nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
        (
            {"affinity": {"podAntiAffinity": {NEEDED: [{"labelSelector": {}}]}}},
            f"spec.affinity.podAntiAffinity.{NEEDED}[0].topologyKey: Required value: can not be empty",
        ),
        (
            {"affinity": {"podAffinity": {PREFERRED: [{"weight": 101, "podAffinityTerm": {"topologyKey": "a"}}]}}},
            f"spec.affinity.podAffinity.{PREFERRED}[0].weight: Invalid value: 101: must be in the range 1-100",
        ),
        (
            {"affinity": {"nodeAffinity": {PREFERRED: [{"preference": {}}]}}},
            f"spec.affinity.nodeAffinity.{PREFERRED}[0].weight: Invalid value: 0: must be in the range 1-100",
        ),
        (
            {"topologySpreadConstraints": [{"topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z"}]},
            'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "": supported values: "DoNotSchedule", "ScheduleAnyway"',
        ),
        (
            {"activeDeadlineSeconds": 0},
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            {"hostAliases": [{"ip": "x"}]},
            'spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ),
        ({"os": {"name": "plan9"}}, 'spec.os.name: Unsupported value: "plan9": supported values: "linux", "windows"'),
        (
            {"securityContext": {"runAsUser": -1}},
            "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            {"ephemeralContainers": [{"name": "e", "image": "x"}]},
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        (
            {"nodeName": "n", "schedulingGates": [{"name": "a"}]},
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        (
            token(expirationSeconds=1),
            f"{TOKEN}.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
        ),
        (
            token(path="../t"),
            "spec.volumes[0].projected.sources[0].serviceAccountToken.path: Invalid value: \"../t\": must not contain '..'",
        ),
        (
            {"volumes": [{"name": "a", "configMap": {"name": "m", "defaultMode": 4096}}]},
            f"spec.volumes[0].configMap.defaultMode: {MODE}",
        ),
        (of_files("metadata.foo"), f'{FIELD}: Invalid value: "metadata.foo": {UNKNOWN}'),
        (of_files("spec.nodeName"), f'{FIELD}: Unsupported value: "spec.nodeName": supported values: {CHOICES}'),
    ],
)
def test_what_a_pod_may_not_say(spec, told):
    assert judged(**spec) == [told]


@pytest.mark.parametrize(
    ("container", "told"),
    [
        (
            {"resources": {"requests": {"foo": "1"}}},
            'resources.requests[foo]: Invalid value: "foo": must be a standard resource for containers',
        ),
        (
            {"resources": {"requests": {"cpu": "-1"}}},
            'resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0',
        ),
        (
            {"securityContext": {"runAsGroup": 2**31}},
            "securityContext.runAsGroup: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
        ),
        (
            {"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "metadata.foo"}}}]},
            f'env[0].valueFrom.fieldRef.fieldPath: Invalid value: "metadata.foo": {UNKNOWN}',
        ),
    ],
)
def test_what_a_container_may_not_say(container, told):
    assert judged(container) == [f"spec.containers[0].{told}"]


def test_privileges_are_given_or_not():
    found = judged({"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}})
    assert len(found) == 1
    assert found[0].startswith("spec.containers[0].securityContext: Invalid value: {")
    assert found[0].endswith("cannot set `allowPrivilegeEscalation` to false and `privileged` to true")


def test_ports_on_the_nodes_network_are_the_nodes():
    assert judged({"ports": [{"containerPort": 80}]}, hostNetwork=True) == []
    told = (
        "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is true"
    )
    assert judged({"ports": [{"containerPort": 80, "hostPort": 81}]}, hostNetwork=True) == [told]


def test_templates_have_no_ephemeral_containers():
    container = {"name": "c", "image": "x"}
    template = {"spec": {"containers": [container], "ephemeralContainers": [{"name": "e", "image": "x"}]}}
    default_template(template)
    found = [f"{one.field}: {one.message}" for one in validate_template(template, "spec.template")]
    text = "Forbidden: ephemeral containers not allowed in pod template"
    assert found == [f"spec.template.spec.ephemeralContainers: {text}"]


def test_what_charts_write_every_day_is_right():
    env = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for name, path in (("A", "metadata.labels['app']"), ("B", "status.podIP"), ("C", "spec.nodeName"))
    ]
    context = {
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
    }
    limits = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": "1", "hugepages-2Mi": "2Mi"}
    term = {"labelSelector": {}, "topologyKey": "zone"}
    spec = {
        "affinity": {
            "nodeAffinity": {PREFERRED: [{"weight": 1, "preference": {}}], NEEDED: {"nodeSelectorTerms": [{}]}},
            "podAntiAffinity": {PREFERRED: [{"weight": 100, "podAffinityTerm": term}], NEEDED: [term]},
        },
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}],
        "securityContext": {"fsGroup": 0, "fsGroupChangePolicy": "OnRootMismatch", "sysctls": [{"name": "net.core.somaxconn"}]},
        "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["a"]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["1.2.3.4"]},
        "hostname": "a",
        "os": {"name": "linux"},
        **token(expirationSeconds=3607),
    }  # fmt: skip
    assert judged({"env": env, "securityContext": context, "resources": {"limits": limits}}, **spec) == []


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("http", []),
        ("a-1", []),
        ("8443", ["must contain at least one letter (a-z)"]),
        ("Http", ["must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"]),
        ("a--b", ["must not contain consecutive hyphens"]),
        ("-a", ["must not begin or end with a hyphen"]),
        ("a" * 16, ["must be no more than 15 bytes"]),
        ("1234567890123456-", ["must be no more than 15 bytes", "must contain at least one letter (a-z)", "must not begin or end with a hyphen"]),
    ],
)  # fmt: skip
def test_what_a_port_may_be_called(name, texts):
    assert [one.message.rpartition('": ')[2] for one in port_name("f", name)] == texts
