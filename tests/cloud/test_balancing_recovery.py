"""Load balancers and what is behind them over the end of everything: after `gureum down`, as after a reboot, and after a death of all of gureum's
processes at once, the next `gureum up` brings all back without help."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.cloud.balancing import Load, Site, certificate, fetch, secure, serves
from tests.cloud.running import until

# As on any machine: what is to run at each start is set up once, by user data.
PAGE = """#!/bin/sh
mkdir -p /www
echo hello $(hostname) > /www/index.html
printf '#!/bin/sh\\nhttpd -p 80 -h /www\\n' > /etc/rc.local
chmod 755 /etc/rc.local
/etc/rc.local
"""


def test_all_comes_back_unaided(cloud: Any, ec2: Any) -> None:
    site = Site(cloud, ec2, UserData=PAGE)
    web, flows = site.group("web", "HTTP"), site.group("flows", "TCP")
    front, name = site.balancer("front", "application")
    edge, edge_name = site.balancer("edge", "network")
    asked, context = certificate(site, "shop.example.com")
    site.listener(front, web, "HTTP", 80)
    site.listener(front, web, "HTTPS", 443, Certificates=[{"CertificateArn": asked}])
    site.listener(edge, flows, "TCP", 80)

    def works() -> dict[str, Any]:
        for group in (web, flows):
            until(lambda group=group: site.states(group) == ["healthy", "healthy"], 60)
        found = {one: sorted(site.addresses(one)) for one in (name, edge_name)}
        for address in found[name] + found[edge_name]:
            until(lambda address=address: serves(address))
        address = found[name][0]
        assert until(lambda: secure(address, "shop.example.com", context)).startswith("HTTP/1.1 200")
        until(lambda: len({fetch(address)[1] for _ in range(10)}) == 2)
        return found

    before = works()
    down = cloud.command("down")
    assert down.returncode == 0
    cloud.command("up")
    site.elb = cloud.client("elbv2")
    cloud.until_state(cloud.client("ec2"), site.ids, "running")
    assert works() == before, "addresses are kept"
    # All of gureum is killed at once. What serves goes on, and is adopted: nobody who asks notices.
    with Load(before[name][0]) as load, Load(before[edge_name][0]) as other:
        load.goes_on()
        status = json.loads(cloud.command("status", "--json").stdout)["supervisor"]
        for pid in (status["pid"], *(one["pid"] for one in status["processes"])):
            os.kill(pid, signal.SIGKILL)
        load.goes_on()
        cloud.command("up")
        load.goes_on()
        other.goes_on()
        assert works() == before
    assert (set(load.answers), set(other.answers)) == ({"200"}, {"200"}), (load.answers, other.answers)
    shown = site.elb.describe_load_balancers()["LoadBalancers"]
    assert {one["State"]["Code"] for one in shown} == {"active"}
