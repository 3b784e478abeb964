"""The Docker Engine API, for unchanged docker clients, on the same core as instances.

    docker CLI, SDKs ── unix socket ── server.py (HTTP/1.1, hijacked streams) ── api.py ── one file per resource
                                                                                    │ commit
                                                      docker.Container, .Image, .Network, .Volume ── lowering.py ── core kinds

It never runs anything itself: a container is a Sandbox, an Image, Volumes, Interfaces and a Container of the core, which the agent brings about.
Streams (attach, logs, exec) and images' files go to the agent directly. Source: Docker Engine API 1.24 to 1.51.
"""
