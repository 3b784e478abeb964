"""The tour's part with the stock kubectl: a manifest is applied, rolls out over simulated nodes, and is scaled.

Nothing runs in these pods, and the tour says so: the API, its controllers and its scheduler are what is shown.
"""

from __future__ import annotations

from gureum.cli.demo.naming import NAME
from gureum.cli.demo.tour import Tour

_NODES = 3
_MANIFEST = f"""\
apiVersion: v1
kind: Namespace
metadata: {{name: {NAME}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {NAME}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers: [{{name: web, image: nginx, ports: [{{containerPort: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {NAME}}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}
"""


def kubernetes(tour: Tour) -> None:
    """A Deployment and a Service, from the manifest to endpoints."""
    tour.title(
        "Kubernetes: a manifest, applied by the stock kubectl (the nodes are simulated: its pods are said to run)"
    )
    if not tour.has("kubectl"):
        tour.say("  no `kubectl` command here: left out")
        return
    manifest = tour.folder / "web.yaml"
    manifest.write_text(_MANIFEST)
    in_place = ("-n", NAME)
    already = tour.run("kubectl", "get", "nodes", "-o", "name", quiet=True)
    if not already:
        tour.run("gureum", "kube", "nodes", "--simulated", str(_NODES))
        tour.made["nodes"] = "simulated"
    tour.say(tour.run("kubectl", "apply", "-f", str(manifest)))
    tour.run("kubectl", "rollout", "status", "deployment/web", *in_place, "--timeout", "60s")
    tour.run("kubectl", "scale", "deployment/web", *in_place, "--replicas", "5")
    tour.run(
        "kubectl",
        "wait",
        "deployment/web",
        *in_place,
        "--for",
        "jsonpath={.status.readyReplicas}=5",
        "--timeout",
        "60s",
    )
    tour.say(tour.run("kubectl", "get", "deployments,pods", *in_place, "-o", "wide"))
    found = tour.run(
        "kubectl", "get", "endpointslices", *in_place, "-o", "jsonpath={.items[*].endpoints[*].addresses[0]}"
    )
    tour.result(f"the Service has {len(found.split())} endpoints")
    manifest.unlink()


def clear_kubernetes(tour: Tour) -> None:
    if tour.has("kubectl"):
        tour.run("kubectl", "delete", "namespace", NAME, "--ignore-not-found", check=False)
        if tour.made.pop("nodes", ""):
            tour.run("gureum", "kube", "nodes", "--simulated", "0", check=False)
