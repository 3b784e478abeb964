"""Helm's life of a release, with the chart that `helm create` makes."""

from __future__ import annotations

import json

from tests.wire.kube.test_kubectl import NODE


def test_a_release_is_installed_upgraded_rolled_back_and_removed(helm, kubectl, tmp_path):
    helm("create", str(tmp_path / "chart"))
    helm("install", "r1", str(tmp_path / "chart"))
    assert json.loads(helm("list", "-o", "json"))[0]["status"] == "deployed"
    helm("upgrade", "r1", str(tmp_path / "chart"), "--set", "replicaCount=2")
    assert kubectl("get", "deploy", "r1-chart", "-o", "jsonpath={.spec.replicas}") == "2"
    helm("rollback", "r1", "1")
    assert kubectl("get", "deploy", "r1-chart", "-o", "jsonpath={.spec.replicas}") == "1"
    assert [one["revision"] for one in json.loads(helm("history", "r1", "-o", "json"))] == [1, 2, 3]
    helm("uninstall", "r1")
    assert (
        json.loads(kubectl("get", "deploy,svc,sa", "-l", "app.kubernetes.io/instance=r1", "-o", "json"))["items"] == []
    )


HOOK = """
apiVersion: batch/v1
kind: Job
metadata:
  name: {{{{ .Release.Name }}}}-{name}
  annotations: {{"helm.sh/hook": "{hook}", "helm.sh/hook-delete-policy": "{policy}", "helm.sh/hook-weight": "1"}}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: c, image: busybox, command: ["true"]}}]
"""
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gears.example.org}
spec:
  group: example.org
  names: {plural: gears, kind: Gear}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
"""
GEAR = """
apiVersion: example.org/v1
kind: Gear
metadata: {name: "{{ .Release.Name }}"}
spec: {teeth: {{ .Values.teeth }}}
"""


def test_hooks_run_in_their_places_and_a_charts_own_kinds_come_first(helm, kubectl, tmp_path):
    kubectl("apply", "-f", "-", stdin=NODE)
    chart = tmp_path / "gears"
    for name, text in {
        "Chart.yaml": "apiVersion: v2\nname: gears\nversion: 0.1.0\n",
        "values.yaml": "teeth: 8\n",
        "crds/gear.yaml": DEFINITION,
        "templates/gear.yaml": GEAR,
        "templates/before.yaml": HOOK.format(
            name="before", hook="pre-install,pre-upgrade", policy="before-hook-creation"
        ),
        "templates/after.yaml": HOOK.format(name="after", hook="post-install", policy="hook-succeeded"),
        "templates/test.yaml": HOOK.format(name="test", hook="test", policy="before-hook-creation"),
    }.items():
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text(text)
    helm("install", "g", str(chart), "--wait", "--timeout=60s")
    assert kubectl("get", "jobs", "-o", "name").split() == ["job.batch/g-before"]  # the other went with its success
    before = kubectl("get", "job", "g-before", "-o", "jsonpath={.metadata.uid}")
    assert kubectl("get", "gear", "g", "-o", "jsonpath={.spec.teeth}") == "8"
    helm("upgrade", "g", str(chart), "--set", "teeth=9", "--wait", "--timeout=60s")
    assert kubectl("get", "gear", "g", "-o", "jsonpath={.spec.teeth}") == "9"
    assert kubectl("get", "job", "g-before", "-o", "jsonpath={.metadata.uid}") != before
    assert "Phase:          Succeeded" in helm("test", "g", "--timeout=60s")
    helm("uninstall", "g", "--wait")
    assert kubectl("get", "gears", "-o", "name") == ""
    kubectl("delete", "crd", "gears.example.org")
    kubectl("delete", "jobs", "--all")
