"""Networks of network namespaces: routers, sandboxes, the edge to the host, and ways through them for connections.

netns.py ──► netns_worker.py                    fills ports/networks.py, in a process with one thread:
    routers.py  routes.py                       a network's router, its interfaces and routes
    sandboxes.py                                what a machine lives in
    translators.py  passages.py                 NAT gateways; ways between networks that know nothing of each other
    edges.py  ways_out.py  forwarding.py        the public pool, and the way out of the host
    netlink.py  namespaces.py  network_names.py the kernel's words, and names of all that is made
dials.py  foreign_sources.py  udp_relay.py      connections from inside; from addresses of others; published UDP ports
api_gate.py                                     the API, from inside
arp.py                                          who answers ARP: status checks
"""
