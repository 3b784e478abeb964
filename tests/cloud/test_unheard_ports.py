"""Ports of load balancers without a listener, over real machines: nothing comes back, also when a listener has gone, and while agent and daemon
are killed.

AWS: "Listeners for your Network Load Balancers": what is for no configured listener is dropped.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import pytest

from tests.cloud.balancing import Site, certificate, secure, serves
from tests.cloud.running import Cloud, until

_SILENCE_S = 1.0


@pytest.fixture(scope="module")
def site(cloud: Cloud, ec2: Any) -> Site:
    return Site(cloud, ec2)


def meets(address: str, port: int) -> str:
    """ "open", "refused" or "silent"."""
    try:
        socket.create_connection((address, port), timeout=_SILENCE_S).close()
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "refused"
    return "open"


def test_ports_without_listener_are_silent(site: Site) -> None:
    asked, context = certificate(site, "shop.example.com")
    site.ec2.authorize_security_group_ingress(
        GroupId=site.security_group, IpProtocol="tcp", FromPort=8000, ToPort=9000, CidrIp="0.0.0.0/0"
    )
    web, flows, alone = site.group("web", "HTTP"), site.group("flows", "TCP"), site.group("alone", "TCP")
    places = {}
    for name, kind, group, plain, secured in (
        ("front", "application", web, "HTTP", "HTTPS"),
        ("edge", "network", flows, "TCP", "TLS"),
        ("tls", "network", alone, "", "TLS"),
    ):
        arn, dns_name = site.balancer(name, kind)
        listeners = {}
        if plain:
            listeners[8080] = site.listener(arn, group, plain, 8080)
        listeners[8443] = site.listener(arn, group, secured, 8443, Certificates=[{"CertificateArn": asked}])
        places[name] = dns_name, listeners
    _, bare = site.balancer("bare", "network")
    until(lambda: all(site.states(one) == ["healthy", "healthy"] for one in (web, flows, alone)), 60)
    nowhere = until(lambda: site.addresses(bare))[0]
    # Not before: of a network load balancer only the zone with targets serves, and its name tells that one when they are healthy.
    front, edge, tls = (
        until(lambda name=name: site.addresses(places[name][0]))[0] for name in ("front", "edge", "tls")
    )

    def is_served() -> bool:
        return (
            serves(front, 8080)
            and serves(edge, 8080)
            and all(secure(one, "shop.example.com", context, 8443) for one in (front, edge, tls))
        )

    def silent() -> set[str]:
        asked = ((front, 8888), (edge, 8888), (tls, 8888), (tls, 8080), (nowhere, 8080))
        return {meets(*one) for one in asked}

    until(is_served, 30)
    assert silent() == {"silent"}
    for process in ("agent", "daemon"):
        before = site.cloud.process(process)
        os.kill(before, signal.SIGKILL)
        assert silent() == {"silent"}
        until(lambda process=process, before=before: site.cloud.process(process) != before, 30)
        until(is_served, 30)
        assert silent() == {"silent"}

    for _, listeners in places.values():
        for arn in listeners.values():
            site.elb.delete_listener(ListenerArn=arn)
    for address in (front, edge, tls):
        for port in (8080, 8443):
            until(lambda address=address, port=port: meets(address, port) == "silent")
