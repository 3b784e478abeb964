"""Defaults, checks and what a change may not touch, as Kubernetes has them: texts are what clients and charts look at."""

from __future__ import annotations

import copy

import pytest

from gureum.kube.kinds.families import RULES
from gureum.kube.kinds.pods.pods import qos_class

META = {"name": "x", "namespace": "default", "uid": "u-1"}


def made(storage, thing, kind=""):
    """What a create makes of it: prepared, defaulted; and what is wrong."""
    one = copy.deepcopy({"kind": kind, "metadata": dict(META), **thing})
    rules = RULES[storage]
    rules.create(one)
    rules.default(one)
    return one, said(rules.validate(one, None))


def changed(storage, thing, change):
    """What is wrong with an update by which `change` is laid over the spec, or over the object where it has none."""
    old, _ = made(storage, thing)
    new = copy.deepcopy(old)
    for path, value in change.items():
        *way, last = path.split(".")
        place = new
        for part in way:
            place = place[int(part) if part.isdigit() else part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    rules = RULES[storage]
    rules.update(new, old)
    rules.default(new)
    return said(rules.validate(new, old))


def said(causes):
    return [f"{one.field}: {one.message}" for one in causes]


def pod(*containers, **spec):
    return {"spec": {"containers": [*containers] or [{"name": "a", "image": "nginx"}], **spec}}


def workload(**spec):
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "a", "image": "nginx:1"}]}}
    return {"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template, **spec}}


def test_a_pods_defaults():
    found, wrong = made("core/pods", pod({"name": "a", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}},
                                          "livenessProbe": {"httpGet": {"port": 80}}},
                                         volumes=[{"name": "v"}, {"name": "c", "configMap": {"name": "m"}}]))  # fmt: skip
    assert wrong == []
    spec = found["spec"]
    assert {name: spec[name] for name in spec if name not in ("containers", "volumes")} == {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }
    assert spec["containers"] == [
        {
            "name": "a",
            "image": "nginx",
            "imagePullPolicy": "Always",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
            "livenessProbe": {
                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                "timeoutSeconds": 1,
                "periodSeconds": 10,
                "successThreshold": 1,
                "failureThreshold": 3,
            },
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        }
    ]
    assert spec["volumes"] == [
        {"name": "v", "emptyDir": {}},
        {"name": "c", "configMap": {"name": "m", "defaultMode": 420}},
    ]
    assert found["status"] == {"phase": "Pending", "qosClass": "Burstable"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [("a", "Always"), ("a:latest", "Always"), ("a:1", "IfNotPresent"), ("h:5000/a", "Always"), ("h:5000/a:1", "IfNotPresent"),
     ("a@sha256:abc", "IfNotPresent")],
)  # fmt: skip
def test_when_an_image_is_pulled(image, policy):
    assert (
        made("core/pods", pod({"name": "a", "image": image}))[0]["spec"]["containers"][0]["imagePullPolicy"] == policy
    )


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        ({"spec": {}}, "spec.containers: Required value"),
        (pod({"name": "A_b", "image": "i"}), 'spec.containers[0].name: Invalid value: "A_b": a lowercase RFC 1123 label'),
        (pod({"name": "a", "image": "i"}, {"name": "a", "image": "i"}), 'spec.containers[1].name: Duplicate value: "a"'),
        (pod({"name": "a"}), "spec.containers[0].image: Required value"),
        (pod({"name": "a", "image": "i", "ports": [{"containerPort": 70000}]}),
         "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        (pod({"name": "a", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
         'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
        (pod(restartPolicy="Sometimes"), 'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"'),
        (pod({"name": "a", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
         'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
        (pod({"name": "a", "image": "i", "resources": {"requests": {"cpu": "x"}}}), "quantities must match the regular expression"),
        (pod({"name": "a", "image": "i", "livenessProbe": {}}), "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        (pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]), "may not specify more than 1 volume type"),
        (pod({"name": "a", "image": "i", "env": [{"name": "A=B"}]}), "spec.containers[0].env[0].name: Invalid value"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pod(thing, text):
    _, wrong = made("core/pods", thing)
    assert any(text in one for one in wrong), wrong


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"spec.containers.0.image": "nginx:2"}, True),
        ({"metadata.labels": {"a": "b"}}, True),
        ({"spec.activeDeadlineSeconds": 5}, True),
        ({"spec.tolerations": [{"operator": "Exists"}]}, True),
        ({"spec.containers.0.command": ["x"]}, False),
        ({"spec.restartPolicy": "Never"}, False),
    ],
)
def test_what_may_change_in_a_pod(change, fits):
    wrong = changed("core/pods", pod(), change)
    assert (wrong == []) is fits
    if not fits:
        assert wrong[0].startswith(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
        )


@pytest.mark.parametrize(
    ("resources", "found"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources, found):
    assert qos_class({"containers": [{"resources": resources}]}) == found


def test_defaults_of_workloads():
    spec = made("apps/deployments", workload())[0]["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    spec = made("apps/statefulsets", workload(serviceName="x"))[0]["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    spec = made("apps/daemonsets", workload())[0]["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}


def job(**spec):
    template = {"spec": {"containers": [{"name": "a", "image": "b"}], "restartPolicy": "Never"}}
    return {"spec": {"template": template, **spec}}


def test_a_job_finds_its_pods_by_its_uid():
    found, wrong = made("batch/jobs", job())
    assert wrong == []
    spec = found["spec"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    assert spec["template"]["metadata"]["labels"]["job-name"] == "x"
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"], spec["suspend"]) == (1, 1, 6, False)


@pytest.mark.parametrize(
    ("storage", "thing", "text"),
    [
        ("apps/deployments", workload(replicas=-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ("apps/deployments", {"spec": {**workload()["spec"], "selector": {"matchLabels": {"app": "y"}}}},
         'spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`'),
        ("apps/deployments", {"spec": {"template": workload()["spec"]["template"]}}, "spec.selector: Required value"),
        ("apps/deployments", workload(selector={}), "empty selector is invalid for deployment"),
        ("apps/deployments", workload(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}), "may not be 0 when `maxSurge` is 0"),
        ("apps/deployments", workload(strategy={"type": "Recreate", "rollingUpdate": {}}),
         "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
        ("batch/jobs", {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}},
         'spec.template.spec.restartPolicy: Unsupported value: "Always": supported values: "Never", "OnFailure"'),
        ("batch/cronjobs", {"spec": {"schedule": "* * *", "jobTemplate": job()}}, "expected exactly 5 fields, found 3"),
        ("batch/cronjobs", {"spec": {"schedule": "@hourly", "timeZone": "Mars/Base", "jobTemplate": job()}},
         'spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base'),
        ("batch/cronjobs", {"spec": {"schedule": "@hourly", "timeZone": "../etc/passwd", "jobTemplate": job()}}, "unknown time zone"),
        ("batch/jobs", job(backoffLimitPerIndex=1), "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
        ("batch/jobs", job(completionMode="Indexed", completions=2, maxFailedIndexes=1),
         "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"),
        ("batch/jobs", job(podFailurePolicy={"rules": [{"action": "FailIndex", "onPodConditions": [{"type": "x"}]}]}),
         'spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set'),
        ("batch/cronjobs", {"spec": {"schedule": "61 * * * *", "jobTemplate": job()}}, "above maximum (59)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_workload(storage, thing, text):
    _, wrong = made(storage, thing)
    assert any(text in one for one in wrong), wrong


def service(**spec):
    return {"spec": {"ports": [{"port": 80}], **spec}}


def quota(**spec):
    return {"spec": {"hard": {}, **spec}}


def taints(*found):
    return {"spec": {"taints": list(found)}}


def endpoints(ip, port=80):
    return {"subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": port}]}]}


FAMILY = "this cluster is not configured for dual-stack services"
LOOPBACK = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
IP_HOST = {"spec": {"rules": [{"host": "1.2.3.4"}]}}


@pytest.mark.parametrize(
    ("storage", "thing", "text"),
    [
        ("core/services", service(internalTrafficPolicy="X"), 'spec.internalTrafficPolicy: Unsupported value: "X"'),
        ("core/services", service(loadBalancerClass="a/b"), "spec.loadBalancerClass: Forbidden: may only be used when `type` is"),
        ("core/services", service(ipFamilies=["IPv6"]), 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        ("core/services", service(ipFamilyPolicy="RequireDualStack"), f'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": {FAMILY}'),
        ("core/services", service(ipFamilyPolicy="PreferDualStack"), ""),
        (
            "core/services",
            service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86401}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
        ),
        ("core/endpoints", endpoints("127.0.0.1"), f'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": {LOOPBACK}'),
        ("core/endpoints", endpoints("10.0.0.1", 0), "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ("networking.k8s.io/ingresses", IP_HOST, 'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address'),
        ("policy/poddisruptionbudgets", {"spec": {"minAvailable": "101%"}}, 'spec.minAvailable: Invalid value: "101%": must not be greater'),
        ("core/resourcequotas", quota(hard={"pods": "1.5"}), 'spec.hard[pods]: Invalid value: "1.5": must be an integer'),
        ("core/resourcequotas", quota(hard={"foo": "1"}), 'spec.hard[foo]: Invalid value: "foo": must be a standard resource for quota'),
        ("core/resourcequotas", quota(hard={"count/pods": "1", "requests.a.b/c": "1", "limits.cpu": "1m", "cpu": "500m"}), ""),
        ("core/resourcequotas", quota(scopes=["Foo"]), 'spec.scopes: Invalid value: ["Foo"]: unsupported scope'),
        ("core/resourcequotas", quota(scopes=["Terminating", "NotTerminating"]), "conflicting scopes"),
        ("core/events", {"involvedObject": {"namespace": "other"}}, 'involvedObject.namespace: Invalid value: "other": does not match'),
        ("core/nodes", taints({"key": "a", "effect": "X"}), 'spec.taints[0].effect: Unsupported value: "X"'),
        ("core/nodes", taints({"key": "a b", "effect": "NoSchedule"}), 'spec.taints[0].key: Invalid value: "a b"'),
        ("core/nodes", taints({"key": "a"}), "spec.taints[0].effect: Required value"),
        ("core/nodes", taints(*[{"key": "a", "effect": "NoSchedule"}] * 2), "taints must be unique by key and effect pair"),
        ("core/nodes", taints({"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}), ""),
    ],
)  # fmt: skip
def test_what_else_is_wrong(storage, thing, text):
    found = made(storage, thing)[1]
    assert [text in one for one in found] == ([True] if text else [])


def test_a_job_keeps_the_selector_that_it_says_and_is_refused_for_it():
    template = {"spec": {"containers": [{"name": "c", "image": "x"}], "restartPolicy": "Never"}}
    one, found = made("batch/jobs", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
    assert one["spec"]["selector"]["matchLabels"] == {"batch.kubernetes.io/controller-uid": "u-1", "a": "b"}
    assert [one.rpartition(": ")[2] for one in found] == ["`selector` not auto-generated"]


def test_containers_of_a_stateful_set_mount_what_is_claimed_for_them():
    thing = workload(serviceName="x", volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}])
    container = thing["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    assert made("apps/statefulsets", thing)[1] == []
    container["volumeMounts"].append({"name": "other", "mountPath": "/other"})
    assert made("apps/statefulsets", thing)[1] == [
        'spec.template.spec.containers[0].volumeMounts[1].name: Not found: "other"'
    ]


@pytest.mark.parametrize(
    "schedule", ["*/5 * * * *", "@hourly", "0 0 1 jan sun", "@every 1h30m", "0-10/2,30 1,2 * * 1-5"]
)
def test_schedules_that_fit(schedule):
    assert made("batch/cronjobs", {"spec": {"schedule": schedule, "jobTemplate": job()}})[1] == []


def service(**spec):
    return {"spec": {"ports": [{"port": 80}], **spec}}


CLAIM = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}


@pytest.mark.parametrize(
    ("storage", "thing", "change", "text"),
    [
        ("apps/deployments", workload(), {"spec.selector": {"matchLabels": {"app": "x", "b": "c"}}}, "field is immutable"),
        ("apps/statefulsets", workload(serviceName="x"), {"spec.serviceName": "y"}, "spec: Forbidden: updates to statefulset spec for fields other"),
        ("batch/jobs", job(), {"spec.template.spec.containers.0.image": "c"}, "spec.template: Invalid value"),
        ("core/services", service(clusterIP="10.96.0.5"), {"spec.clusterIP": "10.96.0.6"}, "may not change once set"),
        ("core/persistentvolumeclaims", CLAIM, {"spec.accessModes": ["ReadWriteMany"]}, "spec: Forbidden: spec is immutable after creation"),
        ("core/configmaps", {"data": {"a": "1"}, "immutable": True}, {"data.a": "2"}, "data: Forbidden: field is immutable when `immutable` is set"),
        ("core/secrets", {}, {"type": "kubernetes.io/tls"}, 'type: Invalid value: "kubernetes.io/tls": field is immutable'),
        ("rbac.authorization.k8s.io/rolebindings", {"roleRef": {"kind": "Role", "name": "r"}}, {"roleRef.name": "s"}, "cannot change roleRef"),
        ("storage.k8s.io/storageclasses", {"provisioner": "p"}, {"provisioner": "q"}, "updates to provisioner are forbidden."),
        ("scheduling.k8s.io/priorityclasses", {"value": 1}, {"value": 2}, "value: Forbidden: may not be changed in an update."),
    ],
)  # fmt: skip
def test_what_may_not_change(storage, thing, change, text):
    wrong = changed(storage, thing, change)
    assert any(text in one for one in wrong), wrong


def test_services():
    found, wrong = made(
        "core/services",
        service(
            type="LoadBalancer", ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "b", "targetPort": "http"}]
        ),
    )
    assert wrong == []
    spec = found["spec"]
    assert spec["ports"] == [
        {"port": 80, "name": "a", "protocol": "TCP", "targetPort": 80},
        {"port": 81, "name": "b", "protocol": "TCP", "targetPort": "http"},
    ]
    assert (spec["externalTrafficPolicy"], spec["allocateLoadBalancerNodePorts"], spec["sessionAffinity"]) == (
        "Cluster",
        True,
        "None",
    )
    for thing, text in (
        (service(ports=[]), "spec.ports: Required value"),
        (service(ports=[{"port": 1}, {"port": 2}]), "spec.ports[0].name: Required value"),
        (service(type="ExternalName"), "spec.externalName: Required value"),
        (service(ports=[{"port": 1, "nodePort": 30000}]), "may not be used when `type` is 'ClusterIP'"),
        (service(type="NodePort", clusterIP="None"), "may not be set to 'None' for NodePort services"),
        (service(clusterIP="x"), "must be a valid IP address"),
    ):
        assert any(text in one for one in made("core/services", thing)[1]), text


def test_what_the_server_gave_a_service_stays_when_a_client_leaves_it_out():
    old, _ = made(
        "core/services", service(type="NodePort", clusterIP="10.96.0.5", ports=[{"port": 80, "nodePort": 30001}])
    )
    new, _ = made("core/services", service(type="NodePort"))
    RULES["core/services"].update(new, old)
    assert new["spec"]["clusterIP"] == "10.96.0.5"
    assert new["spec"]["ports"][0]["nodePort"] == 30001


def test_secrets_and_config_maps():
    found, wrong = made("core/secrets", {"stringData": {"a": "b"}, "data": {"c": "ZA=="}})
    assert wrong == []
    assert (found["type"], found["data"], "stringData" in found) == ("Opaque", {"a": "Yg==", "c": "ZA=="}, False)
    assert made("core/secrets", {"type": "kubernetes.io/tls"})[1] == [
        "data[tls.crt]: Required value",
        "data[tls.key]: Required value",
    ]
    assert "redacted" in made("core/secrets", {"data": {"a": "%"}})[1][0]
    assert "a valid config key" in made("core/configmaps", {"data": {"a b": "c"}})[1][0]
    assert "Too long" in made("core/configmaps", {"data": {"a": "x" * (1 << 20 | 1)}})[1][0]


def test_the_other_defaults():
    assert made("core/namespaces", {})[0]["status"] == {"phase": "Active"}
    assert made("core/persistentvolumeclaims", CLAIM)[1] == []
    policy = made("networking.k8s.io/networkpolicies", {"spec": {"egress": [{"ports": [{"port": 53}]}]}})[0]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    asked = {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}
    binding = made("rbac.authorization.k8s.io/rolebindings", asked, "RoleBinding")
    assert binding[1] == []
    assert binding[0]["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    scaler = made(
        "autoscaling/horizontalpodautoscalers",
        {"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}},
    )
    assert scaler[1] == []
    assert scaler[0]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
    limits = made("core/limitranges", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}})[0]["spec"][
        "limits"
    ][0]
    assert limits["default"] == limits["defaultRequest"] == {"cpu": "2"}
    hook = {
        "name": "a.b.c",
        "clientConfig": {"service": {"name": "s", "namespace": "n"}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    assert made("admissionregistration.k8s.io/validatingwebhookconfigurations", {"webhooks": [hook]})[1] == []


@pytest.mark.parametrize("storage", sorted(RULES))
def test_defaults_are_there_at_once_and_for_good(storage):
    once = {"metadata": dict(META), "kind": "K"}
    RULES[storage].default(once)
    twice = copy.deepcopy(once)
    RULES[storage].default(twice)
    assert once == twice
