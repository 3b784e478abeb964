"""What load balancers do with traffic on a whole cloud, made by the API and seen by clients. Rules, headers and errors in all their forms are tried
on the proxy alone (tests/machine/test_proxy_requests.py); here is what needs zones, health, targets of every kind and time."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.balancing import FAST, Site, certificate, secure
from tests.cloud.guest_servers import GrpcServer, UdpServer, WebServer
from tests.cloud.running import Cloud, until

HEALTH = {**FAST, "HealthCheckPath": "/health"}


class Front(Site):
    """An application load balancer over two zones, and three machines: two in the first zone, one in the second."""

    def __init__(self, cloud: Cloud, ec2: Any) -> None:
        self.cloud, self.ec2 = cloud, ec2
        self.elb, self.acm = cloud.client("elbv2"), cloud.client("acm")
        found = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        first, second = sorted(found, key=lambda one: one["AvailabilityZone"])[:2]
        self.vpc, self.subnets = first["VpcId"], [first["SubnetId"], second["SubnetId"]]
        self.zones = [first["AvailabilityZone"], second["AvailabilityZone"]]
        self.cidrs = [first["CidrBlock"], second["CidrBlock"]]
        group = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][
            0
        ]
        ec2.authorize_security_group_ingress(
            GroupId=group["GroupId"], IpProtocol="tcp", FromPort=81, ToPort=65535, CidrIp="0.0.0.0/0"
        )
        pairs = cloud.launch(ec2, 2, SubnetId=first["SubnetId"], UserData="")
        other = cloud.launch(ec2, 1, SubnetId=second["SubnetId"], UserData="")
        self.instances = [*pairs, *other]
        self.ids = [one["InstanceId"] for one in self.instances]
        self.private = {one["InstanceId"]: one["PrivateIpAddress"] for one in self.instances}
        self.arn, self.dns_name = self.balancer("front", "application")
        self.nodes = self.nodes_of(self.arn)
        self.port = 8000

    def nodes_of(self, balancer: str) -> list[str]:
        """Public addresses of its nodes, by zone."""
        label = balancer.partition("loadbalancer/")[2]
        filters = [{"Name": "description", "Values": [f"ELB {label}"]}]
        found = self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        self.interfaces = {one["AvailabilityZone"]: one["NetworkInterfaceId"] for one in found}
        by_zone = {one["AvailabilityZone"]: one["Association"]["PublicIp"] for one in found}
        return [self.cloud.own(by_zone[zone]) for zone in self.zones]

    def nodes_proxy(self, number: int) -> str:
        """The name of a node's proxy."""
        return str(self.interfaces[self.zones[number]])

    def targets(self, name: str, *ids: str, protocol: str = "HTTP", **more: Any) -> str:
        """A target group with machines (or addresses)."""
        port = more.pop("Port", 80)
        wanted = {**HEALTH, **more} if protocol == "HTTP" else {**FAST, **more}
        made = self.elb.create_target_group(Name=name, Protocol=protocol, Port=port, VpcId=self.vpc, **wanted)
        arn = str(made["TargetGroups"][0]["TargetGroupArn"])
        if ids:
            self.elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": one} for one in ids])
        return arn

    def set(self, group: str, **values: str) -> None:
        """Attributes of a target group; "__" stands for a dot."""
        attributes = [{"Key": key.replace("__", "."), "Value": value} for key, value in values.items()]
        self.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=attributes)

    def served(self, *groups: tuple[str, int], sticky_s: int = 0) -> int:
        """A listener's port, once each of the groups has only healthy targets."""
        self.port += 1
        config: dict[str, Any] = {"TargetGroups": [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in groups]}
        if sticky_s:
            config["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": sticky_s}
        actions = [{"Type": "forward", "ForwardConfig": config}]
        self.elb.create_listener(LoadBalancerArn=self.arn, Protocol="HTTP", Port=self.port, DefaultActions=actions)
        for arn, _ in groups:
            until(lambda arn=arn: set(self.states(arn)) == {"healthy"})
        for node in self.nodes:
            until(lambda node=node: ask(node, self.port)[0] == 200)
        return self.port

    def remove(self, port: int) -> None:
        for one in self.elb.describe_listeners(LoadBalancerArn=self.arn)["Listeners"]:
            if one["Port"] == port:
                self.elb.delete_listener(ListenerArn=one["ListenerArn"])


def ask(
    address: str, port: int, path: str = "/", *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any], list[str]]:
    """Status, what the target was asked ({} where no target of ours answered), and cookies as "name=value"."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    try:
        connection.request(method, path, headers={"Host": "shop.example.com", **(headers or {})})
        answer = connection.getresponse()
        body = answer.read()
        told = json.loads(body) if body.startswith(b"{") else {}
        cookies = [value.partition(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
        return answer.status, told, cookies
    except OSError:
        return 0, {}, []
    finally:
        connection.close()


def spread(address: str, port: int, count: int = 20, **more: Any) -> Counter[str]:
    """Which server answered how often; a status instead where none did."""
    answers = (ask(address, port, **more) for _ in range(count))
    return Counter(told.get("server") or str(status) for status, told, _ in answers)


@pytest.fixture(scope="module")
def front(cloud: Cloud, ec2: Any) -> Front:
    return Front(cloud, ec2)


@pytest.fixture(scope="module")
def servers(front: Front) -> Iterator[list[WebServer]]:
    made = [WebServer(front.cloud, name) for name in front.ids]
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def both(front: Front, servers: list[WebServer]) -> tuple[str, int]:
    """A group of the first and the third machine, one per zone, and its port."""
    group = front.targets("both", front.ids[0], front.ids[2])
    return group, front.served((group, 1))


def test_rules_of_every_kind_with_every_action(front: Front, both: tuple[str, int]) -> None:
    """AWS: "Listener rules". The first by priority that fits answers."""
    _, port = both
    other = front.targets("other", front.ids[1])
    listeners = front.elb.describe_listeners(LoadBalancerArn=front.arn)["Listeners"]
    listener = next(one["ListenerArn"] for one in listeners if one["Port"] == port)
    client = ask(front.nodes[0], port)[1]["headers"]
    mine = dict(client)["x-forwarded-for"]
    to_other = [{"Type": "forward", "TargetGroupArn": other}]
    gone = [
        {
            "Type": "fixed-response",
            "FixedResponseConfig": {"StatusCode": "410", "ContentType": "text/plain", "MessageBody": "gone"},
        }
    ]
    moved = [{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_302", "Path": "/new/#{path}", "Port": "8443"}}]
    rules = [
        ([{"Field": "host-header", "HostHeaderConfig": {"Values": ["*.other.example.com"]}}], to_other),
        ([{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/old/*"]}}], moved),
        (
            [
                {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Kind", "Values": ["*beta*"]}},
                {"Field": "source-ip", "SourceIpConfig": {"Values": [f"{mine}/32"]}},
            ],
            to_other,
        ),
        ([{"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["DELETE"]}}], gone),
        ([{"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "2*"}]}}], to_other),
        ([{"Field": "source-ip", "SourceIpConfig": {"Values": ["192.0.2.0/24"]}}], gone),
    ]
    for priority, (conditions, actions) in enumerate(rules, 1):
        front.elb.create_rule(ListenerArn=listener, Priority=priority, Conditions=conditions, Actions=actions)
    until(lambda: front.states(other) == ["healthy"])
    asked: list[tuple[dict[str, Any], str]] = [
        ({"headers": {"Host": "a.other.example.com"}}, "other"),
        ({"path": "/old/page?q=1"}, "302"),
        ({"headers": {"X-Kind": "a BETA b"}}, "other"),
        ({"method": "DELETE"}, "410"),
        ({"path": "/?V=23"}, "other"),
        ({"path": "/?v=3"}, "both"),
        ({"path": "/old/page", "headers": {"Host": "a.other.example.com"}}, "other"),
    ]

    def found(node: str, request: dict[str, Any]) -> str:
        status, told, _ = ask(node, port, **request)
        return str(status) if status != 200 else "other" if told["server"] == front.ids[1] else "both"

    for node in front.nodes:

        def told(node: str = node) -> list[str]:
            return [found(node, request) for request, _ in asked]

        # Each node takes rules up a moment after the call that made them.
        until(lambda: told() == [wished for _, wished in asked])
    connection = http.client.HTTPConnection(front.nodes[0], port, timeout=5)
    connection.request("GET", "/old/page?q=1", headers={"Host": "shop.example.com"})
    assert connection.getresponse().getheader("Location") == "http://shop.example.com:8443/new/old/page?q=1"


def test_clients_stay_by_the_balancers_the_applications_and_the_groups_cookie(
    front: Front, servers: list[WebServer]
) -> None:
    """AWS: "Sticky sessions". A cookie that one zone's node has given binds at the other's too."""
    blue = front.targets("blue", front.ids[0], front.ids[2])
    green = front.targets("green", front.ids[1], front.ids[2])
    front.set(blue, stickiness__enabled="true", stickiness__lb_cookie__duration_seconds="60")
    front.set(
        green,
        stickiness__enabled="true",
        stickiness__type="app_cookie",
        stickiness__app_cookie__cookie_name="session",
    )
    port = front.served((blue, 1), (green, 1), sticky_s=60)

    def visit(group: set[str], path: str) -> dict[str, str]:
        """Cookies of a first visit that came to this group."""

        def look() -> dict[str, str] | None:
            _, told, cookies = ask(front.nodes[0], port, path)
            names = {one.partition("=")[0] for one in cookies}
            return dict(one.split("=", 1) for one in cookies) | {"": told["server"]} if group <= names else None

        found: dict[str, str] = until(look)
        return found

    for names, path in (({"AWSALB", "AWSALBTG"}, "/"), ({"AWSALBAPP-0", "AWSALBTG"}, "/cookie")):
        cookies = visit(names, path)
        server = cookies.pop("")
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        for node in front.nodes:
            assert spread(node, port, 10, headers={"Cookie": header}) == {server: 10}
        if "AWSALBAPP-0" in cookies:
            del cookies["session"]
            without = "; ".join(f"{name}={value}" for name, value in cookies.items())
            assert len(spread(front.nodes[0], port, 10, headers={"Cookie": without})) == 2, "its own cookie is gone"
    assert len(spread(front.nodes[0], port, 40)) == 3, "who brings no cookie is sent anywhere"
    front.remove(port)


def test_a_new_target_starts_slowly(front: Front, both: tuple[str, int]) -> None:
    """AWS: "Slow start mode": its share rises linearly over the duration."""
    group = front.targets("slow", front.ids[0])
    front.set(group, slow_start__duration_seconds="900")
    port = front.served((group, 1))
    front.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": front.ids[1]}])
    until(lambda: front.states(group) == ["healthy", "healthy"])
    shares = spread(front.nodes[0], port, 100)
    assert shares[front.ids[0]] > 80, shares
    assert sum(shares.values()) == 100
    front.set(group, slow_start__duration_seconds="0")
    until(lambda: 40 <= spread(front.nodes[0], port, 100)[front.ids[1]] <= 60)
    front.remove(port)


def test_least_outstanding_requests_leaves_a_busy_target_alone(front: Front, servers: list[WebServer]) -> None:
    """AWS: "Routing algorithms"."""
    group = front.targets("least", front.ids[0], front.ids[1])
    front.set(group, load_balancing__algorithm__type="least_outstanding_requests")
    port = front.served((group, 1))
    answers: list[int] = []
    held = [threading.Thread(target=lambda: answers.append(ask(front.nodes[0], port, "/slow")[0])) for _ in range(4)]
    for one in held:
        one.start()
    until(lambda: [servers[0].waiting, servers[1].waiting] == [2, 2])
    servers[1].go.set()
    until(lambda: servers[1].waiting == 0)
    assert spread(front.nodes[0], port, 20)[front.ids[1]] >= 19
    servers[0].go.set()
    for one in held:
        one.join()
    assert answers == [200] * 4
    for server in servers[:2]:
        server.go.clear()
    front.remove(port)


def test_zones_and_minimum_health_say_where_traffic_goes(front: Front, servers: list[WebServer]) -> None:
    """AWS: "Turn off cross-zone load balancing" (per target group), and "Target group health": below the wished number a node routes to all targets,
    healthy or not, and its address leaves the load balancer's name."""
    zonal, enough = front.targets("zonal", *front.ids), front.targets("enough", *front.ids)
    count = "target_group_health__unhealthy_state_routing__minimum_healthy_targets__count"
    front.set(zonal, load_balancing__cross_zone__enabled="false")
    of_zone, of_all = front.served((zonal, 1)), front.served((enough, 1))
    assert set(spread(front.nodes[0], of_zone)) == {front.ids[0], front.ids[1]}
    assert set(spread(front.nodes[1], of_zone)) == {front.ids[2]}
    assert set(front.addresses(front.dns_name)) == set(front.nodes)
    servers[2].health = 500
    until(lambda: front.addresses(front.dns_name) == [front.nodes[0]])
    assert spread(front.nodes[1], of_zone) == {front.ids[2]: 20}, "its zone fails open"
    told = front.elb.describe_target_health(TargetGroupArn=zonal)["TargetHealthDescriptions"]
    health = next(one["TargetHealth"] for one in told if one["Target"]["Id"] == front.ids[2])
    assert health == {
        "State": "unhealthy",
        "Reason": "Target.ResponseCodeMismatch",
        "Description": "Health checks failed with these codes: [500]",
    }
    for wished, used in (("2", front.ids[:2]), ("3", front.ids), ("1", front.ids[:2])):
        front.set(enough, **{count: wished})
        for node in front.nodes:
            until(lambda node=node, used=used: set(spread(node, of_all)) == set(used))
    servers[2].health = 200
    until(lambda: set(front.addresses(front.dns_name)) == set(front.nodes))
    for node in front.nodes:
        until(lambda node=node: len(spread(node, of_all)) == 3)
    front.remove(of_zone)
    front.remove(of_all)


def test_a_target_that_one_zone_cannot_reach_is_unhealthy_there(front: Front, both: tuple[str, int]) -> None:
    """A network ACL parts the first zone's machines from the second zone's node. AWS: "each load balancer node checks the health of each target"."""
    group, port = both
    of_subnet = [{"Name": "association.subnet-id", "Values": [front.subnets[0]]}]
    before = front.ec2.describe_network_acls(Filters=of_subnet)["NetworkAcls"][0]
    link = next(one for one in before["Associations"] if one["SubnetId"] == front.subnets[0])
    acl = front.ec2.create_network_acl(VpcId=front.vpc)["NetworkAcl"]["NetworkAclId"]
    everything = {"Protocol": "-1", "NetworkAclId": acl}
    for egress in (True, False):
        front.ec2.create_network_acl_entry(
            RuleNumber=100, RuleAction="allow", Egress=egress, CidrBlock="0.0.0.0/0", **everything
        )
    front.ec2.create_network_acl_entry(
        RuleNumber=50, RuleAction="deny", Egress=False, CidrBlock=front.cidrs[1], **everything
    )
    moved = front.ec2.replace_network_acl_association(AssociationId=link["NetworkAclAssociationId"], NetworkAclId=acl)
    # Nothing comes from the second zone into the first: neither its node's checks nor its machine's answers to the other node.
    for node, reached in zip(front.nodes, (front.ids[0], front.ids[2]), strict=True):
        until(lambda node=node, reached=reached: spread(node, port) == {reached: 20})
    assert front.states(group) == ["unhealthy", "unhealthy"]
    front.ec2.replace_network_acl_association(
        AssociationId=moved["NewAssociationId"], NetworkAclId=before["NetworkAclId"]
    )
    front.ec2.delete_network_acl(NetworkAclId=acl)


def test_addresses_and_load_balancers_are_targets(front: Front, servers: list[WebServer]) -> None:
    """AWS: "Target type": ip, and alb for network load balancers, through which clients' addresses are kept."""
    group = front.targets("addresses", front.private[front.ids[0]], front.private[front.ids[2]], TargetType="ip")
    port = front.served((group, 1))
    assert set(spread(front.nodes[0], port)) == {front.ids[0], front.ids[2]}
    direct = dict(ask(front.nodes[0], port)[1]["headers"])["x-forwarded-for"]
    outer, name = front.balancer("outer", "network")
    inner = front.targets(
        "inner", protocol="TCP", TargetType="alb", Port=port, HealthCheckProtocol="HTTP", HealthCheckPath="/health"
    )
    front.listener(outer, inner, "TCP", 80)
    front.elb.register_targets(TargetGroupArn=inner, Targets=[{"Id": front.arn, "Port": port}])
    until(lambda: front.states(inner) == ["healthy"])
    for node in front.addresses(name):
        until(lambda node=node: ask(node, 80)[0] == 200)
        assert set(spread(node, 80)) == {front.ids[0], front.ids[2]}
        assert dict(ask(node, 80)[1]["headers"])["x-forwarded-for"] == direct
    with pytest.raises(front.elb.exceptions.ResourceInUseException):
        front.remove(port)
    front.elb.delete_load_balancer(LoadBalancerArn=outer)
    front.elb.delete_target_group(TargetGroupArn=inner)
    front.remove(port)


def test_udp_while_targets_come_and_go(front: Front, servers: list[WebServer]) -> None:
    """AWS: "UDP listeners": a flow (its five values) stays at its target; the health of a UDP target is that of a TCP or HTTP port. TCP_UDP at the
    same port leads both to the same targets."""
    front.ec2.authorize_security_group_ingress(
        GroupId=front.instances[0]["SecurityGroups"][0]["GroupId"],
        IpProtocol="udp",
        FromPort=1,
        ToPort=65535,
        CidrIp="0.0.0.0/0",
    )
    with UdpServer(front.cloud, front.ids[0], 5353), UdpServer(front.cloud, front.ids[1], 5353):
        outer, _ = front.balancer("datagrams", "network")
        checked = {"HealthCheckPort": "80", "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/health"}
        group = front.targets("datagrams", *front.ids[:2], protocol="UDP", Port=5353, **checked)
        front.set(group, deregistration_delay__timeout_seconds="1")
        both = front.targets("both-kinds", front.ids[0], protocol="TCP_UDP", Port=80)
        front.listener(outer, group, "UDP", 5353)
        front.listener(outer, both, "TCP_UDP", 80)
        for one in (group, both):
            until(lambda one=one: set(front.states(one)) == {"healthy"})
        node = front.nodes_of(outer)[0]
        until(lambda: "" not in (found := [datagram(node, 5353) for _ in range(16)]) and len(set(found)) == 2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
            flow.settimeout(5)
            flow.connect((node, 5353))
            first = {said(flow) for _ in range(20)}
            assert len(first) == 1, "one flow, one target"
            leaving = first.pop()
            front.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": leaving}])
            # Nothing new goes there at once; the flow that it has goes on until the delay is over, and then to the other.
            other = next(one for one in front.ids[:2] if one != leaving)
            until(lambda: {datagram(node, 5353) for _ in range(16)} == {other})
            until(lambda: said(flow) == other)
            front.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": leaving}])
            until(lambda: {datagram(node, 5353) for _ in range(16)} == {leaving, other})
            assert {said(flow) for _ in range(20)} == {other}, "a flow that is known stays"
            # Whose checks fail loses it with the next datagram, however steadily the client sends.
            servers[front.ids.index(other)].health = 500
            until(lambda: said(flow) == leaving)
            servers[front.ids.index(other)].health = 200
        until(lambda: ask(node, 80)[0] == 200)
        front.elb.delete_load_balancer(LoadBalancerArn=outer)


def datagram(address: str, port: int) -> str:
    """Who answers a flow of its own; "" for nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
        flow.settimeout(1)
        flow.connect((address, port))
        return said(flow)


def said(flow: socket.socket) -> str:
    try:
        flow.send(b"hello")
        name, _, rest = flow.recv(2048).partition(b" ")
    except OSError:
        return ""
    assert rest == b"hello"
    return name.decode()


def test_websockets_http2_and_grpc(front: Front, servers: list[WebServer]) -> None:
    """AWS: "Listeners": WebSockets natively; "Target groups", protocol versions HTTP2 and GRPC, whose checks are calls that end with a code."""
    web = front.targets("sockets", front.ids[0])
    plain = front.served((web, 1))
    assert speak(front.nodes[0], plain) == [b"HTTP/1.1 101 Switching Protocols", b"PING"]
    first, context = certificate(front, "first.example.com")
    second, _ = certificate(front, "second.example.com")
    with GrpcServer(front.cloud, front.ids[0], 50051), GrpcServer(front.cloud, front.ids[2], 50051):
        calls = front.targets(
            "calls",
            front.ids[0],
            front.ids[2],
            ProtocolVersion="GRPC",
            Port=50051,
            HealthCheckPath="/AWS.ALB/healthcheck",
            Matcher={"GrpcCode": "12"},
        )
        tls = front.listener(front.arn, web, "HTTPS", 9443, Certificates=[{"CertificateArn": first}])
        front.elb.add_listener_certificates(ListenerArn=tls, Certificates=[{"CertificateArn": second}])
        front.elb.create_rule(
            ListenerArn=tls,
            Priority=1,
            Conditions=[{"Field": "path-pattern", "Values": ["/shop.Orders/*"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": calls}],
        )
        until(lambda: front.states(calls) == ["healthy", "healthy"])
        for name in ("first.example.com", "second.example.com"):
            assert until(lambda name=name: secure(front.nodes[0], name, context, 9443)).startswith("HTTP/1.1 200")
        assert curl(front.nodes[0], 9443, "/", "--http2", "-w", "\n%{http_version}").splitlines()[-1] == "2"
        until(lambda: "grpc-status: 0" in call(front.nodes[0]))
        assert "\nhellogrpc-status: 0\n" in call(front.nodes[0]), "what was sent, then the trailer"
        servers_asked = {
            line for _ in range(10) for line in call(front.nodes[1]).splitlines() if line.startswith("x-server")
        }
        assert len(servers_asked) == 2
        assert curl(front.nodes[0], 9443, "/shop.Orders/Get", "--http1.1", "-w", "%{http_code}").endswith("464")
        assert curl(front.nodes[0], 9443, "/", "--http2", *GRPC, "-w", "%{http_code}").endswith("464"), "to HTTP/1.1"
    front.remove(9443)
    front.remove(plain)


def test_a_target_that_fails_more_often_than_the_others_gets_less(front: Front, servers: list[WebServer]) -> None:
    """AWS: "Automatic Target Weights": found by errors that its health checks do not see, told by DescribeTargetHealth, and mitigated."""
    group = front.targets("odd", *front.ids)
    front.set(
        group, load_balancing__algorithm__type="weighted_random", load_balancing__algorithm__anomaly_mitigation="on"
    )
    port = front.served((group, 1))
    bad, stop = front.ids[1], threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            ask(front.nodes[0], port)

    def anomaly(of: str) -> tuple[str, str]:
        told = front.elb.describe_target_health(TargetGroupArn=group, Include=["AnomalyDetection"])
        found = {one["Target"]["Id"]: one["AnomalyDetection"] for one in told["TargetHealthDescriptions"]}
        return found[of]["Result"], found[of]["MitigationInEffect"]

    assert anomaly(bad) == ("normal", "no")
    asking = threading.Thread(target=ask_on)
    asking.start()
    try:
        servers[1].broken = True
        until(lambda: anomaly(bad) == ("anomalous", "yes"), 60)
        until(lambda: spread(front.nodes[0], port, 60)["500"] <= 6, 60)
        assert {anomaly(one) for one in (front.ids[0], front.ids[2])} == {("normal", "no")}
        assert set(front.states(group)) == {"healthy"}
        servers[1].broken = False
        until(lambda: anomaly(bad) == ("normal", "no"), 120)
    finally:
        servers[1].broken = False
        stop.set()
        asking.join()
    front.remove(port)


GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", "hello")


def curl(address: str, port: int, path: str, *words: str) -> str:
    command = ["curl", "-sk", "--max-time", "10", *words, f"https://{address}:{port}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def call(address: str) -> str:
    """A gRPC call's headers, trailers and body."""
    text = curl(address, 9443, "/shop.Orders/Get", "--http2", *GRPC, "-D", "-")
    head, _, rest = text.replace("\r", "").partition("\n\n")
    return f"{head}\n{rest}"


def speak(address: str, port: int) -> list[bytes]:
    """A WebSocket's first line, and the answer to "ping"."""
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with socket.create_connection((address, port), timeout=5) as sock:
        sock.sendall(b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + key)
        head = sock.recv(4096)
        sock.sendall(b"ping")
        return [head.split(b"\r\n")[0], sock.recv(4096)]
