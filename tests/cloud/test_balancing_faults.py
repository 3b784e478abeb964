"""A load balancer while things die under load, and what it says then: which requests are lost is counted and must be explained, and each error that
is the load balancer's own stands in its access log. AWS: Application Load Balancers guide, "Troubleshoot" and "Access logs"."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gureum.drivers.haproxy.process import version
from tests.cloud.balancing import Load, certificate, log_lines, proxy_pid, secure
from tests.cloud.guest_servers import UdpServer, WebServer, listening
from tests.cloud.running import until
from tests.cloud.test_balancing_behaviour import Front, ask, spread


@pytest.fixture(scope="module")
def front(cloud: Any, ec2: Any) -> Front:
    made = Front(cloud, ec2)
    cloud.client("s3").create_bucket(Bucket="faults")
    logged = {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": "faults"}
    attributes = [{"Key": key, "Value": value} for key, value in logged.items()]
    made.elb.modify_load_balancer_attributes(LoadBalancerArn=made.arn, Attributes=attributes)
    return made


@pytest.fixture(scope="module")
def servers(front: Front) -> Iterator[list[WebServer]]:
    made = [WebServer(front.cloud, name) for name in front.ids]
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def served(front: Front, servers: list[WebServer]) -> tuple[str, int]:
    group = front.targets("served", *front.ids)
    return group, front.served((group, 1))


def test_dead_control_plane_and_dead_proxies_under_load(front: Front, served: tuple[str, int]) -> None:
    """The daemon and the agent may die: no request is lost. A proxy's death breaks what is under way in it, at most one request of a client that
    has one at a time, and connections are refused until the new one listens (a quarter of a second); none is taken and left without an answer."""
    group, port = served
    with Load(front.nodes[0], port) as load, Load(front.nodes[1], port) as other:
        load.goes_on()
        for name in ("daemon", "agent"):
            before = front.cloud.process(name)
            os.kill(before, signal.SIGKILL)
            until(lambda name=name, before=before: front.cloud.process(name) != before)
            load.goes_on()
            other.goes_on()
        until(lambda: set(front.states(group)) == {"healthy"})
        assert set(load.answers) == {"200"}, load.answers
        assert set(other.answers) == {"200"}, other.answers
        state = next(one for one in proxies(front) if front.nodes_proxy(0) == one.parent.name)
        killed = proxy_pid(state)
        os.kill(killed, signal.SIGKILL)
        until(lambda: proxy_pid(state) not in (0, killed))
        until(lambda: ask(front.nodes[0], port)[0] == 200)
        load.goes_on()
    broken = sum(
        load.answers[name] for name in ("ConnectionResetError", "RemoteDisconnected", "IncompleteRead", "BadStatusLine")
    )
    assert broken <= 1, load.answers
    assert load.answers["200"] + broken + load.answers["ConnectionRefusedError"] == load.answers.total(), load.answers
    assert set(other.answers) == {"200"}, "the other zone's proxy did not notice"


def test_a_proxy_is_back_at_once_however_often_it_is_killed(front: Front, served: tuple[str, int]) -> None:
    """A master or a worker, each a moment after the one before: what has served for a second is started anew without a pause. Were it held back as
    one that ends in a loop is, the last of these would be away for longer than is waited for."""
    _, port = served
    state = next(one for one in proxies(front) if front.nodes_proxy(0) == one.parent.name)
    for kill in range(9):
        with Load(front.nodes[0], port) as load:
            load.goes_on()
            time.sleep(1.2)  # it has served for a while: that is what is tried
            killed = proxy_pid(state)
            os.kill(killed if kill % 2 else worker(killed), signal.SIGKILL)
            until(lambda killed=killed: proxy_pid(state) not in (0, killed), 3)
            until(lambda: ask(front.nodes[0], port)[0] == 200, 3)


def worker(master: int) -> int:
    """The newest."""
    return int(Path(f"/proc/{master}/task/{master}/children").read_text().split()[-1])


def proxies(front: Front) -> list[Path]:
    return list(Path(f"/run/gureum/{front.cloud.identity['id']}/proxies").glob("*/state.json"))


def test_open_connections_outlast_the_control_plane_and_changes(
    front: Front, servers: list[WebServer], served: tuple[str, int]
) -> None:
    """A WebSocket by the application load balancer, and connections and flows by a network one, TLS among them: the same ones all the time."""
    _, port = served
    outer, _ = front.balancer("outlasting", "network")
    flows = front.targets("flows", *front.ids[:2], protocol="TCP")
    datagrams = front.targets("datagrams", *front.ids[:2], protocol="UDP", Port=5353, HealthCheckPort="80")
    first, context = certificate(front, "kept.example.com")
    second, _ = certificate(front, "kept.example.com")
    front.listener(outer, flows, "TCP", 80)
    tls = front.listener(outer, flows, "TLS", 8443, Certificates=[{"CertificateArn": first}])
    front.listener(outer, datagrams, "UDP", 5353)
    front.ec2.authorize_security_group_ingress(
        GroupId=front.instances[0]["SecurityGroups"][0]["GroupId"],
        IpProtocol="udp",
        FromPort=5353,
        ToPort=5353,
        CidrIp="0.0.0.0/0",
    )
    with contextlib.ExitStack() as open_:
        for name in front.ids[:2]:
            open_.enter_context(UdpServer(front.cloud, name, 5353))
        for group in (flows, datagrams):
            until(lambda group=group: set(front.states(group)) == {"healthy"})
        node = front.nodes_of(outer)[0]
        front.nodes_of(front.arn)  # whose proxies other tests ask for
        until(lambda: ask(node, 80)[0] == 200)
        until(lambda: secure(node, "kept.example.com", context, 8443))
        web_socket = open_.enter_context(socket.create_connection((front.nodes[0], port), timeout=10))
        web_socket.sendall(
            b"GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert web_socket.recv(4096).startswith(b"HTTP/1.1 101 ")
        plain = _that_one_only(open_.enter_context(socket.create_connection((node, 80), timeout=10)))
        under = open_.enter_context(socket.create_connection((node, 8443), timeout=10))
        secret = _that_one_only(open_.enter_context(context.wrap_socket(under, server_hostname="kept.example.com")))
        flow = open_.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        flow.settimeout(10)
        flow.connect((node, 5353))
        flow.send(b"hello")
        peer = flow.recv(100)

        def all_go_on() -> None:
            web_socket.sendall(b"still")
            assert web_socket.recv(100) == b"STILL"
            for one in (plain, secret):
                one.request("GET", "/")
                answer = one.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True)
            flow.send(b"hello")
            assert flow.recv(100) == peer

        for name in ("daemon", "agent"):
            before = front.cloud.process(name)
            os.kill(before, signal.SIGKILL)
            all_go_on()
            until(lambda name=name, before=before: front.cloud.process(name) != before)
            all_go_on()
        listeners = front.elb.describe_listeners(LoadBalancerArn=front.arn)["Listeners"]
        rule = front.elb.create_rule(
            ListenerArn=next(one["ListenerArn"] for one in listeners if one["Port"] == port),
            Priority=2000,
            Conditions=[{"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["PATCH"]}}],
            Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "202"}}],
        )["Rules"][0]
        until(lambda: ask(front.nodes[0], port, method="PATCH")[0] == 202)
        front.elb.modify_listener(ListenerArn=tls, Certificates=[{"CertificateArn": second}])
        for group in (flows, datagrams):  # what is under way may end by itself, for five minutes
            front.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": front.ids[0]}])
            until(lambda group=group: front.states(group) == ["draining", "healthy"])
        all_go_on()
        front.elb.delete_rule(RuleArn=rule["RuleArn"])
    front.elb.delete_load_balancer(LoadBalancerArn=outer)


def _that_one_only(sock: socket.socket) -> http.client.HTTPConnection:
    """A client that does not connect anew."""
    made = http.client.HTTPConnection("kept.example.com")
    made.sock, made.auto_open = sock, 0
    return made


def test_a_target_that_dies_under_load(front: Front, servers: list[WebServer], served: tuple[str, int]) -> None:
    """AWS: requests go to a target until its checks have failed. What is sent to a port where nobody listens is 502, each one; then none."""
    group, port = served
    with Load(front.nodes[0], port) as load:
        load.goes_on()
        servers[2].close()
        until(lambda: load.answers["502"])
        until(lambda: "unhealthy" in front.states(group))
        until(lambda: front.ids[2] not in spread(front.nodes[0], port))
        before = load.answers["502"]
        load.goes_on(60)
        assert load.answers["502"] == before, "lost after it was known to be dead"
    servers[2] = WebServer(front.cloud, front.ids[2])
    assert set(load.answers) == {"200", "502"}, load.answers


def test_what_is_under_way_ends_within_the_deregistration_delay(
    front: Front, servers: list[WebServer], served: tuple[str, int]
) -> None:
    """AWS: "Deregistration delay": no new requests, those in flight may end; when the delay is over the connection is closed (here as 502)."""
    group = front.targets("leaving", front.ids[0], front.ids[1])
    front.set(group, deregistration_delay__timeout_seconds="1")
    port = front.served((group, 1))
    answers: dict[str, int] = {}

    def hold(name: str) -> threading.Thread:
        thread = threading.Thread(target=lambda: answers.update({name: ask(front.nodes[0], port, f"/slow/{name}")[0]}))
        thread.start()
        return thread

    threads = [hold("one"), hold("two")]
    until(lambda: [servers[0].waiting, servers[1].waiting] == [1, 1])
    front.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": front.ids[0]}])
    assert front.states(group) == ["draining", "healthy"]
    until(lambda: spread(front.nodes[0], port) == {front.ids[1]: 20})
    # Over: the held request is cut, that of the other target is not.
    until(lambda: len(front.states(group)) == 1)
    until(lambda: len(answers) == 1)
    for server in servers[:2]:
        server.go.set()
    for thread in threads:
        thread.join()
    cut = 502 if version("haproxy") < (3, 0) else 0  # without an answer: decision 0134
    assert set(answers.values()) == {200, cut}
    for server in servers[:2]:
        server.go.clear()
    front.remove(port)


def test_every_error_of_the_load_balancers_own_is_answered_and_logged(
    front: Front, servers: list[WebServer], served: tuple[str, int]
) -> None:
    """460, 463, 502, 503 and 504, each as its cause by the guide, with the status of the target beside it."""
    _, port = served
    patience(front, 2)
    silent = listening(front.cloud, front.ids[1], 81)
    lonely = front.targets("nobody")
    hangs = front.targets("hangs", front.ids[1], Port=81, HealthCheckPort="80")
    listener = next(
        one["ListenerArn"]
        for one in front.elb.describe_listeners(LoadBalancerArn=front.arn)["Listeners"]
        if one["Port"] == port
    )
    for priority, (path, group) in enumerate({"/503": lonely, "/504": hangs}.items(), 1):
        front.elb.create_rule(
            ListenerArn=listener,
            Priority=priority,
            Conditions=[{"Field": "path-pattern", "Values": [path]}],
            Actions=[{"Type": "forward", "TargetGroupArn": group}],
        )
    until(lambda: front.states(hangs) == ["healthy"])
    node = front.nodes[0]
    until(lambda: ask(node, port, "/503")[0] == 503)
    until(lambda: ask(node, port, "/504")[0] == 504)
    assert ask(node, port, "/reset")[0] == 502
    assert ask(node, port, "/status/418")[0] == 418
    assert ask(node, port, headers={"X-Forwarded-For": ", ".join(["192.0.2.1"] * 31)})[0] == 463
    assert ask(node, port, method="TRACE")[0] == 405
    leave(node, port, servers)
    wished = {
        "/503": ("503", "-"),
        "/504": ("504", "-"),
        "/reset": ("502", "-"),
        "/status/418": ("418", "418"),
        "/slow/460": ("460", "-"),
    }
    spool = front.cloud.home / "access-log-spool"
    until(lambda: any("/slow/460" in one.read_text() for one in spool.glob("*.lines")))
    os.kill(front.cloud.process("agent"), signal.SIGKILL)  # files come each five minutes, and when it is back

    def logged() -> dict[str, tuple[str, str]]:
        found = {}
        for line in log_lines(front.cloud, "faults"):
            fields = line.split(" ")
            path = "/" + line.split('"')[1].split(" ")[1].split("/", 3)[3]
            found[path] = fields[8], fields[9]
        return {path: statuses for path, statuses in found.items() if path in wished}

    until(lambda: logged() == wished)
    silent.close()
    patience(front, 60)


def patience(front: Front, seconds: int) -> None:
    """How long the load balancer, which tests share, keeps a connection by which nothing comes."""
    wish = [{"Key": "idle_timeout.timeout_seconds", "Value": str(seconds)}]
    front.elb.modify_load_balancer_attributes(LoadBalancerArn=front.arn, Attributes=wish)


def leave(node: str, port: int, servers: list[WebServer]) -> None:
    """A client that resets its connection while the target works."""
    with socket.create_connection((node, port), timeout=5) as sock:
        sock.sendall(b"GET /slow/460 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: any(server.waiting for server in servers))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for server in servers:
        server.go.set()
    until(lambda: not any(server.waiting for server in servers))
    for server in servers:
        server.go.clear()


def test_kept_connections_see_no_change_of_the_listeners(
    front: Front, servers: list[WebServer], served: tuple[str, int]
) -> None:
    """A new rule reloads the proxies; a client's connection that is kept open ends with an answer, never with a broken one."""
    _, port = served
    listener = next(
        one["ListenerArn"]
        for one in front.elb.describe_listeners(LoadBalancerArn=front.arn)["Listeners"]
        if one["Port"] == port
    )
    stop, failures, done = threading.Event(), list[str](), list[int]()

    def client() -> None:
        connection = http.client.HTTPConnection(front.nodes[0], port, timeout=10)
        while not stop.is_set():
            try:
                connection.request("GET", "/kept", headers={"Host": "a"})
                answer = connection.getresponse()
                answer.read()
                done.append(answer.status)
            except OSError as error:
                failures.append(repr(error))
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5):
        made = front.elb.create_rule(
            ListenerArn=listener,
            Priority=1000 + number,
            Conditions=[{"Field": "path-pattern", "Values": [f"/rule{number}"]}],
            Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "202"}}],
        )
        until(lambda number=number: ask(front.nodes[0], port, f"/rule{number}")[0] == 202)
        front.elb.delete_rule(RuleArn=made["Rules"][0]["RuleArn"])
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(done) == {200}
