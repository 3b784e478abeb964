"""What `kubectl` cannot do with the Kubernetes API of this gureum:

gureum kube nodes --simulated N            nodes on which pods are said to run
gureum kube clusters create|delete NAME    a further cluster, with a context of its name in the kubeconfig
gureum kube clusters list
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
from typing import Any
from urllib.parse import quote

from gureum.base.homes import Home, running
from gureum.cli.env import renew_kubeconfigs, wait_for_file
from gureum.cli.output import Failure, say
from gureum.cli.running import NOT_RUNNING, current_home

ANNOTATION = "gureum.dev/simulated"
NODES = "/api/v1/nodes"
CLUSTERS, ROTATE_KEY = "/clusters", "/rotate-key"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
LIMIT_NODES = 5000
TIMEOUT_S, ROTATION_S = 30.0, 3600.0


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True)
    nodes = commands.add_parser(
        "nodes", help="nodes that say that their pods run, and a class of volumes that say that they are there"
    )
    nodes.add_argument("--simulated", metavar="N", type=int, required=True, help="how many there are to be; 0: none")
    nodes.add_argument("--cpu", default="32", help="CPUs of each (32)")
    nodes.add_argument("--memory", default="256Gi", help="memory of each (256Gi)")
    nodes.add_argument("--pods", default="110", help="most pods on each (110)")
    nodes.add_argument("--cluster", metavar="NAME", default="", help="of this cluster (the default one)")
    commands.add_parser("rotate-key", help="another key for Secrets: all are sealed anew, the old key is removed")
    clusters = commands.add_parser("clusters", help="clusters beside the default one").add_subparsers(
        dest="verb", required=True
    )
    clusters.add_parser("list", help="their names and where they are")
    for verb, text in (("create", "make one"), ("delete", "remove one, with all that is in it")):
        clusters.add_parser(verb, help=text).add_argument("name", metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    home = current_home()
    if not running(home) or not wait_for_file(home.kubeconfig):
        raise Failure("gureum is not running (`gureum up` starts it)", NOT_RUNNING)
    if arguments.what == "rotate-key":
        connection = connect(home, timeout_s=ROTATION_S)
        say(f"{call(connection, 'POST', ROTATE_KEY)['secrets']} secrets are sealed with a new key")
        return 0
    return clusters(home, arguments) if arguments.what == "clusters" else nodes(home, arguments)


def clusters(home: Home, arguments: argparse.Namespace) -> int:
    connection = connect(home)
    if arguments.verb == "create":
        call(connection, "POST", CLUSTERS, {"name": arguments.name})
        renew_kubeconfigs(home)
        say(f"cluster {arguments.name}: kubectl --context {arguments.name}")
    elif arguments.verb == "delete":
        call(connection, "DELETE", f"{CLUSTERS}/{quote(arguments.name, safe='')}", missing_ok=False)
        renew_kubeconfigs(home)
        say(f"cluster {arguments.name} is gone")
    else:
        found = [("default", home.kube_endpoint)]
        found += [(one["name"], one["server"]) for one in call(connection, "GET", CLUSTERS)["clusters"]]
        for name, server in found:
            print(f"{name:<40} {server}")
    return 0


def nodes(home: Home, arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.simulated <= LIMIT_NODES:
        raise Failure(f"--simulated takes 0 to {LIMIT_NODES}")
    connection = connect(home, arguments.cluster)
    prefix = f"{CLUSTERS}/{arguments.cluster}" if arguments.cluster else ""
    path = prefix + NODES
    known = {
        node["metadata"]["name"]
        for node in call(connection, "GET", path)["items"]
        if (node["metadata"].get("annotations") or {}).get(ANNOTATION) == "true"
    }
    wanted = [f"simulated-{number}" for number in range(arguments.simulated)]
    capacity = {"cpu": arguments.cpu, "memory": arguments.memory, "pods": arguments.pods, "ephemeral-storage": "100Gi"}
    for name in wanted:
        if name not in known:
            call(connection, "POST", path, node_of(name, capacity))
    for name in sorted(known - set(wanted)):
        call(connection, "DELETE", f"{path}/{name}")
    furnish(connection, prefix, wanted=bool(wanted))
    say(f"{len(wanted)} simulated nodes")
    return 0


def furnish(connection: http.client.HTTPSConnection, prefix: str, *, wanted: bool) -> None:
    """A storage class of simulated volumes goes with the nodes; it is the default where there is no other."""
    known = call(connection, "GET", prefix + CLASSES)["items"]
    ours = [one for one in known if one["provisioner"] == ANNOTATION]
    if wanted and not ours:
        taken = any((one["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true" for one in known)
        marks = {} if taken else {DEFAULT_CLASS: "true"}
        made = {"metadata": {"name": "simulated", "annotations": marks}, "provisioner": ANNOTATION}
        call(connection, "POST", prefix + CLASSES, made)
    for one in () if wanted else ours:
        call(connection, "DELETE", f"{prefix}{CLASSES}/{one['metadata']['name']}")


def connect(home: Home, cluster: str = "", timeout_s: float = TIMEOUT_S) -> http.client.HTTPSConnection:
    """To the API, as the cluster's administrator."""
    folder = home.kubeconfig.parent
    context = ssl.create_default_context(cafile=str(folder / "pki" / "ca.crt"))
    keys = folder / "clusters" / cluster if cluster else folder / "pki"
    if "/" in cluster or not keys.is_dir():
        raise Failure(f'there is no cluster "{cluster}"')
    context.load_cert_chain(keys / "admin.pem")
    host, _, port = home.kube_endpoint.removeprefix("https://").rpartition(":")
    return http.client.HTTPSConnection(host.strip("[]"), int(port), context=context, timeout=timeout_s)


def call(
    connection: http.client.HTTPSConnection, method: str, path: str, body: Any = None, *, missing_ok: bool = True
) -> Any:
    """Failure when it is refused; `missing_ok`: but for what is not there."""
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json", "User-Agent": "gureum"})
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Failure(f"the Kubernetes API does not answer: {error}") from error
    if response.status >= 300 and not (missing_ok and response.status == 404):
        raise Failure(str(answer.get("message", response.reason)))
    return answer


def node_of(name: str, capacity: dict[str, str]) -> dict[str, Any]:
    """A node that is ready."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": "simulated",
    }
    conditions = [
        {"type": kind, "status": "True" if kind == "Ready" else "False", "reason": reason, "message": "simulated"}
        for kind, reason in (
            ("MemoryPressure", "KubeletHasSufficientMemory"),
            ("DiskPressure", "KubeletHasNoDiskPressure"),
            ("PIDPressure", "KubeletHasSufficientPID"),
            ("Ready", "KubeletReady"),
        )
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {ANNOTATION: "true"}},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": conditions,
            "addresses": [{"type": "Hostname", "address": name}],
            "nodeInfo": {"kubeletVersion": "v1.34.0", "operatingSystem": "linux", "architecture": "amd64"},
        },
    }
