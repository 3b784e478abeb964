"""Networks of network namespaces: routers, sandboxes, the edge to the host, and ways through them for connections."""
