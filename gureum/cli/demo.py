"""`gureum demo`: a tour of what really runs, told with the stock AWS command line.

Each section is a function that prints the commands as a user would type them, runs them, and checks what it says. A section
takes the `Tour`, which remembers what earlier sections made; new parts of the cloud add a section to `SECTIONS`. The tour
makes a VPC of its own and touches nothing else; run again, it first removes what the last one left.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gureum.base.homes import Home, load_home
from gureum.base.settings import Settings, load_settings
from gureum.cli import up
from gureum.cli.api import get
from gureum.cli.output import Failure
from gureum.cli.running import ask
from gureum.cli.tour import Tour, dim, shown

NAME = "gureum-demo"
VPC_CIDR, PUBLIC_CIDR, PRIVATE_CIDR = "10.42.0.0/16", "10.42.1.0/24", "10.42.2.0/24"
PAGE_PORT, CLOSED_PORT = 80, 8080
PAGE_LIMIT_S = 30.0
SILENCE_S = 2.0
# The address may have been another machine's yesterday, so its host key is not kept.
SSH_OPTIONS = (
    "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "BatchMode=yes", "ConnectTimeout=10",
    "LogLevel=ERROR",
)  # fmt: skip

USER_DATA = """#!/bin/sh
mkdir -p /srv/www
echo "Hello from $(hostname)" > /srv/www/index.html
httpd -p 80 -h /srv/www
httpd -p 8080 -h /srv/www
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", action="store_true", help="leave the machines running at the end")
    parser.add_argument("--quiet", action="store_true", help="only the results, not the commands")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    home = running_home(settings)
    if home.simulate:
        raise Failure("a simulated cloud runs nothing that could be shown: the demo needs a real one")
    tour = Tour(settings, home, quiet=arguments.quiet)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gureum-demo-") as folder:
        tour.folder = key_folder() if arguments.keep else Path(folder)
        clear(tour)
        for section in SECTIONS:
            section(tour)
        if not arguments.keep:
            tour.title("Clean up")
            clear(tour)
    finish(tour, time.monotonic() - started, kept=arguments.keep)
    return 0


def running_home(settings: Settings) -> Home:
    """The home, started if it was not."""
    home = load_home(settings)
    if home is None or ask(home, {"op": "status"}) is None:
        up.run(argparse.Namespace(foreground=False, simulate=False, ephemeral=False))
        home = load_home(settings)
    assert home is not None
    return home


# Sections


def networks(tour: Tour) -> None:
    """A VPC with a public and a private subnet."""
    tour.title("A network: one VPC, a public and a private subnet")
    vpc = tour.make(
        "vpc", "ec2", "create-vpc", "--cidr-block", VPC_CIDR, "--tag-specifications", tags("vpc"), query="Vpc.VpcId"
    )
    for name, cidr in (("public subnet", PUBLIC_CIDR), ("private subnet", PRIVATE_CIDR)):
        tour.make(name, "ec2", "create-subnet", "--vpc-id", vpc, "--cidr-block", cidr, query="Subnet.SubnetId")
    tour.aws("ec2", "modify-subnet-attribute", "--subnet-id", tour.made["public subnet"], "--map-public-ip-on-launch")
    gateway = tour.make("internet gateway", "ec2", "create-internet-gateway", query="InternetGateway.InternetGatewayId")
    tour.aws("ec2", "attach-internet-gateway", "--vpc-id", vpc, "--internet-gateway-id", gateway)
    table = tour.make("route table", "ec2", "create-route-table", "--vpc-id", vpc, query="RouteTable.RouteTableId")
    tour.aws(
        "ec2",
        "create-route",
        "--route-table-id",
        table,
        "--destination-cidr-block",
        "0.0.0.0/0",
        "--gateway-id",
        gateway,
    )
    tour.aws("ec2", "associate-route-table", "--route-table-id", table, "--subnet-id", tour.made["public subnet"])


def security(tour: Tour) -> None:
    """Who may talk to whom, and the key to log in with."""
    tour.title("Who may talk to whom: two security groups and a key pair")
    vpc = tour.made["vpc"]
    for name in ("web", "inside"):
        words = (
            "ec2",
            "create-security-group",
            "--group-name",
            f"{NAME}-{name}",
            "--description",
            name,
            "--vpc-id",
            vpc,
        )
        tour.make(f"group {name}", *words, query="GroupId")
    for port in (22, PAGE_PORT):
        allow(tour, "group web", port, "--cidr", "0.0.0.0/0")
    allow(tour, "group inside", PAGE_PORT, "--source-group", tour.made["group web"])
    key = tour.aws("ec2", "create-key-pair", "--key-name", NAME, "--key-type", "ed25519", query="KeyMaterial")
    path = tour.folder / f"{NAME}.pem"
    path.unlink(missing_ok=True)
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(key if key.endswith("\n") else key + "\n")
    tour.result(f"the private key is in {path}")


def allow(tour: Tour, group: str, port: int, *source: str) -> None:
    words = ("--group-id", tour.made[group], "--protocol", "tcp", "--port", str(port), *source)
    tour.aws("ec2", "authorize-security-group-ingress", *words)


def machines(tour: Tour) -> None:
    """Two instances that serve a page."""
    tour.title("Two machines that boot and run their user data")
    script = tour.folder / "user-data.sh"
    script.write_text(USER_DATA)
    tour.say("  their user data:\n" + "\n".join(f"    {line}" for line in USER_DATA.splitlines()[1:]))
    words = ("--owners", "amazon", "--filters", "Name=name,Values=*busybox*")
    image = tour.make("image", "ec2", "describe-images", *words, query="Images[0].ImageId")
    for name, subnet, group in (("front", "public subnet", "group web"), ("back", "private subnet", "group inside")):
        tour.make(
            name, "ec2", "run-instances", "--image-id", image, "--instance-type", "t3.micro", "--key-name", NAME,
            "--subnet-id", tour.made[subnet], "--security-group-ids", tour.made[group],
            "--user-data", f"file://{script}", "--tag-specifications", tags("instance", name),
            query="Instances[0].InstanceId",
        )  # fmt: skip
    found = wait_for(tour, "running", tour.made["front"], tour.made["back"])
    for name in ("front", "back"):
        machine = found[tour.made[name]]
        private, public = machine["PrivateIpAddress"], machine.get("PublicIpAddress", "")
        tour.made[f"{name} private"], tour.made[f"{name} public"] = private, tour.public(public) if public else ""
        took = time_to_running(tour, tour.made[name])
        tour.measured(f"{name}: from the acknowledged call to running", took)
        tour.result(f"{name} runs, {took * 1000:.0f} ms after the call: {private}, {public or 'no public address'}")


def time_to_running(tour: Tour, machine: str) -> float:
    """Seconds from the launch to running, as gureum's own record has them."""
    launched = get(tour.home, f"explain/{machine}")["objects"][0]
    events = [event for event in launched["events"] if event["message"].endswith("running")]
    return float(events[-1]["last"] - launched["created"]) if events else 0.0


def pages(tour: Tour) -> None:
    """Packets that pass, and packets that do not."""
    tour.title("Packets: what passes and what does not")
    front, back = tour.made["front public"], tour.made["back private"]
    if not front:
        raise Failure("the public machine has no public address")
    tour.say(f"  $ {dim(f'curl http://{front}/')}")
    page = fetch_when_up(front, PAGE_PORT)
    tour.result(f"the host gets the page through the public address: {page!r}")
    took = min(timed_fetch(front, PAGE_PORT) for _ in range(5))
    tour.measured("one page from the host", took)
    page = login(tour, f"wget -q -O - http://{back}/")
    tour.result(f"the public machine reaches the private one at {back}: {page!r}")
    tour.say(f"  $ {dim(f'curl http://{front}:{CLOSED_PORT}/')}")
    expect_silence(
        tour, front, CLOSED_PORT, "a port that no group opens is dropped, although the machine listens on it"
    )
    if tour.made["back public"] or routed_to_us(tour, back):
        raise Failure("the host has a way to the private machine")
    tour.result(f"the private machine has no public address, and the host has no route to {back}")


def shell(tour: Tour) -> None:
    """SSH, metadata, console."""
    tour.title("Inside: SSH with the key, metadata, console")
    tour.result(f"logged in: {' '.join(login(tour, 'id -un; uname -n').split())}")
    found = login(tour, "wget -q -O - http://169.254.169.254/latest/meta-data/instance-id")
    if found != tour.made["front"]:
        raise Failure(f"the metadata service calls the machine {found!r}")
    tour.result(f"the metadata service knows the machine: {found}")
    output = tour.aws("ec2", "get-console-output", "--instance-id", tour.made["front"], query="Output")
    text = decode_console(output)
    told = [line for line in text.splitlines() if "finished" in line] or ["(silent)"]
    tour.result(f"its console: {told[-1].strip()}")


def restart(tour: Tour) -> None:
    """The control plane changes, the machines do not notice."""
    tour.title("An upgrade: daemon and agent are replaced, machines stay up")
    front, failed, fetched = tour.made["front public"], 0, 0
    tour.say(f"  $ {dim('gureum restart')}")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "gureum.cli.main", "restart"], stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            fetched += 1
            try:
                timed_fetch(front, PAGE_PORT)
            except OSError:
                failed += 1
    if process.returncode != 0 or failed:
        raise Failure(f"the restart ended with {process.returncode}, {failed} of {fetched} requests failed")
    tour.result(f"{fetched} pages were fetched meanwhile, none failed")


SECTIONS: tuple[Callable[[Tour], None], ...] = (networks, security, machines, pages, shell, restart)


def finish(tour: Tour, seconds: float, *, kept: bool) -> None:
    tour.title("Times")
    for what, took in [
        *tour.times,
        (f"the whole tour, {tour.client_s:.0f} s of it in {tour.calls} starts of the aws program", seconds),
    ]:
        tour.say(f"  {took * 1000:8.1f} ms  {what}" if took < 1 else f"  {took:8.1f} s   {what}")
    tour.title("What to try next")
    if kept:
        tour.say(f"  gureum explain {tour.made['front']}     what the machine is made of")
        tour.say(f"  gureum ssh {tour.made['front']}         log in to it")
    else:
        tour.say("  gureum demo --keep                    the same, and the machines stay")
    tour.say('  eval "$(gureum env)"                  now `aws`, boto3 and Terraform of this shell use gureum')
    tour.say("  aws ec2 run-instances --image-id … --instance-type t3.micro --count 3")
    tour.say("  gureum status    gureum coverage ec2    gureum doctor")
    tour.say("  gureum down                           stops all; the next `gureum up` brings it back")


def clear(tour: Tour) -> None:
    """Removes what a tour made, this one or an earlier one, found by its tag."""
    quiet, tour.quiet = tour.quiet, True
    try:
        for vpc in (
            tour.aws("ec2", "describe-vpcs", "--filters", f"Name=tag:Name,Values={NAME}", query="Vpcs[].VpcId") or []
        ):
            clear_vpc(tour, vpc)
            tour.result(f"removed {vpc} with its machines")
        tour.aws("ec2", "delete-key-pair", "--key-name", NAME, check=False)
    finally:
        tour.quiet = quiet


def clear_vpc(tour: Tour, vpc: str) -> None:
    inside = f"Name=vpc-id,Values={vpc}"
    running = "Name=instance-state-name,Values=pending,running,stopping,stopped"
    machines = tour.aws(
        "ec2", "describe-instances", "--filters", inside, running, query="Reservations[].Instances[].InstanceId"
    )
    if machines:
        tour.aws("ec2", "terminate-instances", "--instance-ids", *machines)
        wait_for(tour, "terminated", *machines)
    for gateway in tour.aws(
        "ec2",
        "describe-internet-gateways",
        "--filters",
        f"Name=attachment.vpc-id,Values={vpc}",
        query="InternetGateways[].InternetGatewayId",
    ):
        tour.aws("ec2", "detach-internet-gateway", "--internet-gateway-id", gateway, "--vpc-id", vpc)
        tour.aws("ec2", "delete-internet-gateway", "--internet-gateway-id", gateway)
    for subnet in tour.aws("ec2", "describe-subnets", "--filters", inside, query="Subnets[].SubnetId"):
        tour.aws("ec2", "delete-subnet", "--subnet-id", subnet)
    tables = "RouteTables[?!not_null(Associations[?Main]|[0])].RouteTableId"
    for table in tour.aws("ec2", "describe-route-tables", "--filters", inside, query=tables):
        tour.aws("ec2", "delete-route-table", "--route-table-id", table)
    # `inside` names `web` in a rule, so it must go first.
    for name in ("inside", "web"):
        groups = tour.aws(
            "ec2",
            "describe-security-groups",
            "--filters",
            inside,
            f"Name=group-name,Values={NAME}-{name}",
            query="SecurityGroups[].GroupId",
        )
        for group in groups:
            tour.aws("ec2", "delete-security-group", "--group-id", group)
    tour.aws("ec2", "delete-vpc", "--vpc-id", vpc)


# Pieces


def wait_for(tour: Tour, state: str, *machines: str) -> dict[str, dict[str, Any]]:
    """The machines by id, once all are in the state. `aws ec2 wait` looks every 15 seconds, longer than all of this takes."""
    deadline, quiet = time.monotonic() + PAGE_LIMIT_S, tour.quiet
    try:
        while True:
            words = ("ec2", "describe-instances", "--instance-ids", *machines)
            found = tour.aws(*words, query="Reservations[].Instances[]")
            if {one["State"]["Name"] for one in found} == {state}:
                return {one["InstanceId"]: one for one in found}
            if time.monotonic() > deadline:
                states = ", ".join(f"{one['InstanceId']} is {one['State']['Name']}" for one in found)
                raise Failure(f"{states}, not {state}, after {PAGE_LIMIT_S:.0f} s: see `gureum explain`")
            tour.quiet = True
    finally:
        tour.quiet = quiet


def routed_to_us(tour: Tour, address: str) -> bool:
    """Whether the host would send packets for the address into this cloud. Asked of the routing table: no packet is sent."""
    done = subprocess.run(["ip", "-j", "route", "get", address], capture_output=True, text=True, check=False)
    return done.returncode == 0 and any(tour.home.id in route.get("dev", "") for route in json.loads(done.stdout))


def key_folder() -> Path:
    """Where `gureum ssh` looks for keys."""
    folder = Path("~/.gureum/keys").expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def tags(kind: str, name: str = "") -> str:
    return f"ResourceType={kind},Tags=[{{Key=Name,Value={NAME}{f'-{name}' if name else ''}}}]"


def fetch(address: str, port: int, timeout_s: float) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    finally:
        connection.close()


def timed_fetch(address: str, port: int) -> float:
    started = time.monotonic()
    fetch(address, port, 5.0)
    return time.monotonic() - started


def fetch_when_up(address: str, port: int) -> str:
    """The page, as soon as the machine serves it."""
    deadline = time.monotonic() + PAGE_LIMIT_S
    while True:
        try:
            return fetch(address, port, 2.0)
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failure(f"no page from {address} within {PAGE_LIMIT_S:.0f} s: {error}") from error
            time.sleep(0.01)


def expect_silence(tour: Tour, address: str, port: int, what: str) -> None:
    """A dropped packet is never answered: neither a page nor a refusal may come."""
    try:
        fetch(address, port, SILENCE_S)
    except TimeoutError:
        tour.result(f"{what} (no answer in {SILENCE_S:.0f} s)")
        return
    except OSError as error:
        raise Failure(f"port {port} answered with {error} instead of silence") from error
    raise Failure(f"port {port} is open")


def login(tour: Tour, command: str) -> str:
    """What the command prints on the public machine, run by SSH with the demo's key."""
    words = ["ssh", "-i", f"{NAME}.pem", f"root@{tour.made['front public']}", command]
    tour.say(f"  $ {dim(shown(words))}")
    options = [word for option in SSH_OPTIONS for word in ("-o", option)]
    done = subprocess.run(
        ["ssh", *options, *words[1:]],
        cwd=tour.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode != 0:
        raise Failure(f"`{command}` failed over ssh (exit code {done.returncode}): {done.stderr.strip()}")
    return done.stdout.strip()


def decode_console(output: object) -> str:
    """The console's text. The version 1 client decodes base64 itself; be content with either."""
    if not isinstance(output, str):
        return ""
    try:
        return base64.b64decode(output, validate=True).decode(errors="replace")
    except ValueError:
        return output
