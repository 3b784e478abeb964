"""What people type every day, with the real kubectl."""

from __future__ import annotations

import json

MAP = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: applied
data:
  k: {value}
"""


def test_get_in_all_forms(kubectl):
    kubectl("create", "configmap", "forms", "--from-literal=k=v")
    assert kubectl("get", "cm", "forms", "-o", "name") == "configmap/forms\n"
    assert json.loads(kubectl("get", "cm", "forms", "-o", "json"))["data"] == {"k": "v"}
    assert kubectl("get", "cm", "forms", "-o", "jsonpath={.data.k}") == "v"
    assert "k: v" in kubectl("get", "cm", "forms", "-o", "yaml")
    assert kubectl("get", "cm", "forms", "-o", "custom-columns=N:.metadata.name").split() == ["N", "forms"]
    assert kubectl("get", "cm", "forms", "--no-headers").split()[0] == "forms"
    assert "forms" in kubectl("get", "cm", "-A", "--sort-by=.metadata.name")


def test_apply_on_both_sides_diff_edit_and_delete(kubectl):
    assert kubectl("apply", "-f", "-", stdin=MAP.format(value="a")) == "configmap/applied created\n"
    assert kubectl("apply", "-f", "-", stdin=MAP.format(value="a")) == "configmap/applied unchanged\n"
    diff = kubectl.run("diff", "-f", "-", stdin=MAP.format(value="b"), check=False)
    assert diff.returncode == 1
    assert "+  k: b" in diff.stdout
    assert kubectl("apply", "-f", "-", stdin=MAP.format(value="b")) == "configmap/applied configured\n"
    served = kubectl("apply", "--server-side", "-f", "-", stdin=MAP.format(value="c"))
    assert served == "configmap/applied serverside-applied\n"
    edited = kubectl.run("edit", "cm", "applied", EDITOR="sed -i s/k:.c/k:.d/").stdout
    assert edited == "configmap/applied edited\n"
    assert kubectl("get", "cm", "applied", "-o", "jsonpath={.data.k}") == "d"
    kubectl("delete", "cm", "applied")
    gone = kubectl.run("get", "cm", "applied", check=False)
    assert gone.stderr == 'Error from server (NotFound): configmaps "applied" not found\n'


def test_labels_annotations_and_patches(kubectl):
    kubectl("create", "configmap", "marked")
    kubectl("label", "cm", "marked", "team=a")
    kubectl("annotate", "cm", "marked", "note=b")
    kubectl("patch", "cm", "marked", "--type=json", '-p=[{"op":"add","path":"/data","value":{"k":"v"}}]')
    kubectl("patch", "cm", "marked", "-p", '{"data":{"l":"w"}}')
    found = json.loads(kubectl("get", "cm", "-l", "team=a", "-o", "json"))["items"][0]
    assert found["metadata"]["annotations"] == {"note": "b"}
    assert found["data"] == {"k": "v", "l": "w"}


def test_the_api_describes_itself(kubectl):
    kinds = kubectl("api-resources", "--no-headers", "-o", "name").split()
    assert {"pods", "deployments.apps", "roles.rbac.authorization.k8s.io"} <= set(kinds)
    assert "Number of desired pods" in kubectl("explain", "deployment.spec.replicas")
    assert "Server Version: v1.34" in kubectl("version")
    assert "apps/v1" in kubectl("api-versions").split()
