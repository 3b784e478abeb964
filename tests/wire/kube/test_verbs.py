"""kubectl's less daily verbs and flags."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cloud.running import until
from tests.wire.kube.test_kubectl import NODE

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p}}
spec: {containers: [{name: c, image: busybox}]}
"""


@pytest.fixture
def pod(kubectl):
    kubectl("apply", "-f", "-", stdin=NODE)
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
    yield "p"
    kubectl("delete", "pod", "p", "--ignore-not-found", "--now")


def test_get_by_template_raw_wide_and_many_kinds(kubectl, pod):
    assert kubectl("get", "pod", pod, "-o", "go-template={{.status.phase}}") == "Running"
    assert json.loads(kubectl("get", "--raw", "/version"))["minor"] == "34"
    assert kubectl("get", "--raw", "/readyz") == "ok"
    wide = kubectl("get", "pod", pod, "-o", "wide").splitlines()
    assert wide[0].split()[-4:] == ["NOMINATED", "NODE", "READINESS", "GATES"]
    assert "n1" in wide[1].split()
    assert kubectl("get", "pod/p", "ns/default", "-o", "name").split() == ["pod/p", "namespace/default"]
    assert "managedFields" in kubectl("get", "pod", pod, "-o", "yaml", "--show-managed-fields")
    assert kubectl("get", "svc", "kubernetes", "--no-headers").split()[:5] == [
        "kubernetes",
        "ClusterIP",
        "10.96.0.1",
        "<none>",
        "443/TCP",
    ]
    assert "app=p" in kubectl("get", "pods", "--show-labels")
    assert kubectl("get", "pods", "--field-selector=status.phase=Running", "-o", "name") == "pod/p\n"
    assert kubectl("get", "pods", "-l", "app notin (p)", "-o", "name") == ""


def test_a_watch_prints_what_comes(kubectl, kube, tmp_path):
    watching = subprocess.Popen(
        [kubectl.program, "get", "cm", "-w", "--field-selector=metadata.name=late", "--no-headers"],
        stdout=subprocess.PIPE,
        env={"KUBECONFIG": str(kube.kubeconfig), "HOME": str(tmp_path)},
        text=True,
    )
    try:
        kubectl("create", "configmap", "late")
        assert watching.stdout.readline().split()[:2] == ["late", "0"]
        kubectl("patch", "cm", "late", "-p", '{"data":{"k":"v"}}')
        assert watching.stdout.readline().split()[:2] == ["late", "1"]
    finally:
        watching.kill()
        watching.communicate()
    kubectl("delete", "cm", "late")


def test_waiting_for_an_end_and_for_conditions(kubectl, pod):
    kubectl("patch", "pod", pod, "-p", '{"metadata":{"finalizers":["example.com/held"]}}')
    kubectl("delete", "pod", pod, "--wait=false")
    held = kubectl.run("wait", "--for=delete", "pod/p", "--timeout=1s", check=False)
    assert "timed out waiting for the condition on pods/p" in held.stderr
    kubectl("patch", "pod", pod, "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
    kubectl("wait", "--for=delete", "pod/p", "--timeout=30s")
    refused = kubectl.run("wait", "--for=condition=Ready", "node/none", "--timeout=1s", check=False)
    assert 'nodes "none" not found' in refused.stderr


def test_dry_runs_change_nothing(kubectl):
    assert "created (server dry run)" in kubectl(
        "apply", "--dry-run=server", "-f", "-", stdin=POD.replace(" p,", " dry,")
    )
    kubectl("create", "deployment", "dry", "--image=busybox", "--dry-run=server")
    assert kubectl("get", "pod,deploy", "--ignore-not-found", "dry") == ""


def test_replace_prune_and_delete_by_selector(kubectl):
    both = "".join(
        f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: s}}}}\n"
        for name in ("one", "two")
    )
    kubectl("apply", "-f", "-", stdin=both)
    left = both.split("---\n")[1]
    assert "configmap/two pruned" in kubectl("apply", "--prune", "-l", "set=s", "-f", "-", stdin=left)
    assert kubectl("replace", "-f", "-", stdin=left + "data: {k: v}\n") == "configmap/one replaced\n"
    assert kubectl("delete", "cm", "-l", "set=s") == 'configmap "one" deleted from default namespace\n'
    kubectl("create", "deployment", "kept", "--image=busybox", "--replicas=1")
    until(lambda: kubectl("get", "rs", "-l", "app=kept", "-o", "name"))
    kubectl("delete", "deployment", "kept", "--cascade=orphan")
    assert kubectl("get", "rs", "-l", "app=kept", "-o", "name") != ""
    kubectl("delete", "rs", "-l", "app=kept", "--cascade=foreground")


def test_rollouts_stop_go_on_and_start_again(kubectl):
    kubectl("apply", "-f", "-", stdin=NODE)
    kubectl("create", "deployment", "roll", "--image=busybox:1")
    kubectl("rollout", "pause", "deploy/roll")
    kubectl("set", "image", "deploy/roll", "busybox=busybox:2")
    assert len(kubectl("get", "rs", "-l", "app=roll", "-o", "name").split()) <= 1
    kubectl("rollout", "resume", "deploy/roll")
    kubectl("rollout", "status", "deploy/roll", "--timeout=30s")
    kubectl("rollout", "restart", "deploy/roll")
    kubectl("rollout", "status", "deploy/roll", "--timeout=30s")
    assert "busybox:2" in kubectl("rollout", "history", "deploy/roll", "--revision=2")
    kubectl("autoscale", "deploy/roll", "--max=3", "--cpu=50%")
    assert kubectl("get", "hpa", "roll", "-o", "jsonpath={.spec.maxReplicas}") == "3"
    kubectl("delete", "deploy,hpa", "roll")


def test_what_one_may_is_listed_and_reconciled(kubectl):
    rules = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
"""
    assert "reconciled" in kubectl("auth", "reconcile", "-f", "-", stdin=rules)
    kubectl("create", "rolebinding", "reader", "--role=reader", "--user=ann")
    listed = kubectl("auth", "can-i", "--list", "--as=ann")
    assert [line.split() for line in listed.splitlines() if line.startswith("pods ")] == [["pods", "[]", "[]", "[get]"]]
    assert kubectl("auth", "can-i", "get", "pods/p", "--as=ann") == "yes\n"
    assert kubectl("get", "secrets", "--as=ann", "--as-group=system:masters", "-o", "name") == ""


def test_nodes_are_cordoned_tainted_and_labelled(kubectl):
    kubectl("apply", "-f", "-", stdin=NODE)
    kubectl("taint", "node", "n1", "a=b:NoSchedule")
    assert "a=b:NoSchedule" in kubectl("describe", "node", "n1")
    kubectl("taint", "node", "n1", "a-")
    kubectl("label", "node", "n1", "disk=fast")
    assert "Kubernetes control plane" in kubectl("cluster-info")


def test_what_runs_nowhere_says_so(kubectl, pod):
    for words in (("logs", pod), ("exec", pod, "--", "true"), ("attach", pod)):
        refused = kubectl.run(*words, check=False)
        assert refused.returncode == 1, words
        assert "is not built" in refused.stderr or "501" in refused.stderr or "unable to upgrade" in refused.stderr, (
            refused.stderr
        )


def test_nothing_is_proxied_and_that_is_said(kubectl, pod):
    for path in (
        "nodes/n1/proxy/metrics",
        f"namespaces/default/pods/{pod}/proxy/",
        "namespaces/default/services/s/proxy",
    ):
        refused = kubectl.run("get", "--raw", f"/api/v1/{path}", check=False)
        assert "the subresource proxy is not built" in refused.stderr, refused.stderr


def test_configurations_of_folders_are_applied(kubectl, tmp_path):
    (tmp_path / "kustomization.yaml").write_text("namePrefix: k-\nconfigMapGenerator: [{name: g, literals: [a=b]}]\n")
    assert "configmap/k-g-" in kubectl("apply", "-k", str(tmp_path))
    kubectl("delete", "-k", str(tmp_path))


def test_a_namespace_says_which_pods_may_be_in_it(kubectl):
    kubectl("create", "namespace", "tight")
    kubectl("label", "namespace", "tight", "pod-security.kubernetes.io/enforce=restricted")
    refused = kubectl.run("apply", "-n", "tight", "-f", "-", stdin=POD, check=False).stderr
    assert (
        'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false' in refused
    )
    made = kubectl.run("create", "deployment", "d", "--image=busybox", "--replicas=0", "-n", "tight")
    assert 'Warning: would violate PodSecurity "restricted:latest": allowPrivilegeEscalation' in made.stderr
    spoiled = kubectl.run("label", "namespace", "tight", "pod-security.kubernetes.io/warn=lax", check=False).stderr
    assert "must be one of privileged, baseline, restricted" in spoiled
    kubectl("delete", "namespace", "tight", "--wait=false")
