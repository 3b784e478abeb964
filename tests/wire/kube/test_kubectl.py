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
    edited = kubectl.run("edit", "cm", "applied", EDITOR="sed -i s/:.c$/:\\\\x20d/").stdout
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


NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1, annotations: {gureum.dev/simulated: "true"}}
status:
  capacity: {cpu: 8, memory: 32Gi, pods: 110}
  allocatable: {cpu: 8, memory: 32Gi, pods: 110}
  conditions: [{type: Ready, status: "True", reason: KubeletReady, message: ready}]
"""


def test_a_rollout_is_followed_undone_and_scaled(kubectl):
    kubectl("apply", "-f", "-", stdin=NODE)
    kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    kubectl("set", "image", "deploy/web", "nginx=nginx:2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    assert kubectl("rollout", "history", "deploy/web").split()[-4:] == ["1", "<none>", "2", "<none>"]
    kubectl("rollout", "undo", "deploy/web")
    kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "nginx:1"
    kubectl("scale", "deploy/web", "--replicas=3")
    kubectl("wait", "--for=jsonpath={.status.readyReplicas}=3", "deploy/web", "--timeout=30s")
    lines = [line.split() for line in kubectl("get", "pods", "--no-headers", "-l", "app=web").splitlines()]
    assert [line[1:3] for line in lines] == [["1/1", "Running"]] * 3
    kubectl("expose", "deploy/web", "--port=80")
    assert "Scaled up replica set" in kubectl("describe", "deploy", "web")
    assert "Scaled up replica set" in kubectl("events", "--for=deploy/web")
    kubectl("drain", "n1", "--ignore-daemonsets", "--force", "--timeout=30s")
    assert "SchedulingDisabled" in kubectl("get", "nodes")
    kubectl("uncordon", "n1")
    kubectl("delete", "deploy,svc", "web")


def test_tokens_and_roles(kube, kubectl):
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "rolebinding", "robot-view", "--clusterrole=view", "--serviceaccount=default:robot")
    robot = "--as=system:serviceaccount:default:robot"
    assert kubectl("auth", "can-i", "list", "pods", robot) == "yes\n"
    assert kubectl.run("auth", "can-i", "list", "secrets", robot, check=False).stdout == "no\n"
    token = kubectl("create", "token", "robot").strip()
    bare = [f"--server={kube.url}", f"--certificate-authority={kube.folder}/pki/ca.crt", f"--token={token}"]
    clean = {"KUBECONFIG": "/dev/null"}
    assert "system:serviceaccount:default:robot" in kubectl.run("auth", "whoami", *bare, **clean).stdout
    kubectl.run("get", "pods", *bare, **clean)
    refused = kubectl.run("get", "secrets", *bare, check=False, **clean)
    assert 'cannot list resource "secrets" in API group "" in the namespace "default"' in refused.stderr


def test_groups_that_kubectl_acts_as_keep_their_commas(kubectl):
    groups = [f"--as-group={name}" for name in ("group2", "group1", ",,,chameleon")]
    said = kubectl("auth", "whoami", "--as=user1", *groups, "-o", "jsonpath={.status.userInfo.groups}")
    assert json.loads(said) == ["group2", "group1", ",,,chameleon", "system:authenticated"]
    refused = kubectl.run("get", "pods", "--as-group=foo", check=False)
    assert "without impersonating a user" in refused.stderr


def test_secrets_quotas_and_others_are_created_by_their_commands(kubectl):
    kubectl("create", "namespace", "made")
    for words in (
        "secret generic s --from-literal=k=v",
        "configmap c --from-literal=k=v",
        "quota q --hard=pods=1000",
        "role r --verb=get --resource=pods",
        "service clusterip s --tcp=80",
        "ingress i --rule=example.com/*=s:80",
        "poddisruptionbudget p --selector=app=x --min-available=1",
        "job j --image=busybox -- true",
        "cronjob cj --image=busybox --schedule=* -- true",
    ):
        parts = [{"--schedule=*": "--schedule=0 0 * * *"}.get(word, word) for word in words.split()]
        kubectl("create", "-n", "made", *parts)
    kubectl("create", "priorityclass", "high", "--value=1000")
    assert kubectl("get", "secret", "s", "-n", "made", "-o", "jsonpath={.data.k}") == "dg=="
    kubectl("delete", "namespace", "made", "--timeout=30s")


def test_explain_takes_protobuf_too(kubectl):
    assert "desired pods" in kubectl("explain", "deployment.spec.replicas", "--output=plaintext-openapiv2")


def test_a_further_cluster_is_a_context(kube, kubectl):
    kube.run(kube.face.clusters.create("east"))
    assert kubectl("config", "get-contexts", "-o", "name").split() == ["east", "gureum"]
    kubectl("--context", "east", "create", "configmap", "only-east")
    assert "only-east" in kubectl("--context", "east", "get", "configmaps")
    assert "only-east" not in kubectl("get", "configmaps")
    assert kubectl("--context", "east", "auth", "can-i", "create", "nodes") == "yes\n"
    token = kubectl("--context", "east", "create", "token", "default").strip()
    refused = kubectl.run("--token", token, "get", "pods", check=False, KUBECONFIG=str(kube.bare_kubeconfig()))
    assert "Unauthorized" in refused.stderr
    kube.run(kube.face.clusters.delete("east"))
    assert kubectl("config", "get-contexts", "-o", "name").split() == ["gureum"]
