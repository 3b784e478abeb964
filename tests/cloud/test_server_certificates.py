"""Server certificates of IAM as clients meet them: real TLS handshakes with application and network load balancers, while the daemon is killed, away,
and back."""

from __future__ import annotations

import os
import signal
import ssl
from typing import Any

import pytest

from tests.certificates import pair
from tests.cloud.balancing import Site, secure
from tests.cloud.running import Cloud, until


@pytest.fixture(scope="module")
def site(cloud: Cloud, ec2: Any) -> Site:
    return Site(cloud, ec2)


def uploaded(iam: Any, name: str) -> tuple[str, ssl.SSLContext]:
    """The ARN of a new certificate for this domain, and what trusts it alone."""
    body, key = pair(name)
    given = {"ServerCertificateName": name, "CertificateBody": body, "PrivateKey": key, "Path": "/front/"}
    arn = iam.upload_server_certificate(**given)["ServerCertificateMetadata"]["Arn"]
    return str(arn), ssl.create_default_context(cadata=body)


def test_server_certificates_are_served_whatever_becomes_of_the_daemon(site: Site) -> None:
    iam, cloud = site.cloud.client("iam"), site.cloud
    (default, trusts_default), (extra, trusts_extra) = (
        uploaded(iam, "web.example.com"),
        uploaded(iam, "sni.example.com"),
    )
    served = []
    for kind, protocol, of_group in (("application", "HTTPS", "HTTP"), ("network", "TLS", "TCP")):
        group = site.group(f"{kind}-iam", of_group)
        arn, dns = site.balancer(f"{kind}-iam", kind)
        listener = site.listener(arn, group, protocol, 443, Certificates=[{"CertificateArn": default}])
        site.elb.add_listener_certificates(ListenerArn=listener, Certificates=[{"CertificateArn": extra}])
        # A network load balancer serves from the zone with targets alone, which its name tells when they are healthy.
        until(lambda group=group: site.states(group) == ["healthy", "healthy"], 60)
        served.append((until(lambda dns=dns: site.addresses(dns))[0], listener))

    def all_serve() -> bool:
        names = (("web.example.com", trusts_default), ("sni.example.com", trusts_extra))
        return all(secure(address, name, trust) for address, _ in served for name, trust in names)

    until(all_serve, 60)
    daemon, agent = cloud.process("daemon"), cloud.process("agent")
    os.kill(daemon, signal.SIGSTOP)
    try:
        assert all_serve()
        os.kill(agent, signal.SIGKILL)
        assert all_serve()
    finally:
        os.kill(daemon, signal.SIGKILL)
    until(lambda: cloud.process("daemon") != daemon, 30)
    until(all_serve, 30)
    # What the new daemon holds is enough for other listeners, and for a change.
    other, trusts_other = uploaded(iam, "other.example.com")
    for address, listener in served:
        site.elb.modify_listener(ListenerArn=listener, Certificates=[{"CertificateArn": other}])
        until(lambda address=address: secure(address, "other.example.com", trusts_other), 30)
        assert secure(address, "sni.example.com", trusts_extra)
    iam.delete_server_certificate(ServerCertificateName="web.example.com")
    with pytest.raises(iam.exceptions.DeleteConflictException, match="is currently in use by arn"):
        iam.delete_server_certificate(ServerCertificateName="sni.example.com")


def test_no_private_key_of_iam_lies_open_in_the_home(site: Site) -> None:
    body, key = pair("sealed.example.com")
    given = {"ServerCertificateName": "sealed", "CertificateBody": body, "PrivateKey": key}
    arn = site.cloud.client("iam").upload_server_certificate(**given)["ServerCertificateMetadata"]["Arn"]
    group = site.group("sealed", "HTTP")
    balancer, dns = site.balancer("sealed", "application")
    site.listener(balancer, group, "HTTPS", 443, Certificates=[{"CertificateArn": arn}])
    address = until(lambda: site.addresses(dns))[0]
    until(lambda: secure(address, "sealed.example.com", ssl.create_default_context(cadata=body)), 60)
    line = key.splitlines()[1].encode()
    files = [path for path in site.cloud.home.rglob("*") if path.is_file() and path.stat().st_size < 50_000_000]
    assert files
    assert [path for path in files if line in path.read_bytes()] == []
