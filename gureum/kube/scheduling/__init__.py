"""Which node a pod is for: pure, but for what it is shown. The controller that acts on it is controllers/nodes/scheduler.py.

    facts.py ──► filters.py + relations.py + claims.py: which nodes can have it ──► scores.py: which is best
                          └► none: preemption.py: where it could be, if others went

Source: Kubernetes, "Kubernetes Scheduler", "Assigning Pods to Nodes", "Taints and Tolerations", "Pod Priority and Preemption",
"Pod Topology Spread Constraints"; texts of k8s.io/kubernetes/pkg/scheduler 1.34.
"""
