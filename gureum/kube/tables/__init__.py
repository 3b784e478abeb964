"""What `kubectl get` shows of each kind: columns and cells, made by the server (meta.k8s.io/v1 Table).
`table.py` finds a kind's; the others hold them."""
