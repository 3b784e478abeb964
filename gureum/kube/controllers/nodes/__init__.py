"""Life of nodes, which node a pod gets (deciding is pure: kube/scheduling/), and nodes that only say that pods run."""
