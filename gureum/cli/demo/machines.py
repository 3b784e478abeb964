"""The tour's second part: machines that boot, packets that pass or do not, a shell, an upgrade."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from typing import Any

from gureum.cli.api import get
from gureum.cli.demo.fetching import PAGE_LIMIT_S, expect_silence, fetch_when_up, timed_fetch
from gureum.cli.demo.naming import NAME, tags
from gureum.cli.demo.networks import PAGE_PORT
from gureum.cli.demo.tour import Tour, dim, shown
from gureum.cli.output import Failure

CLOSED_PORT = 8080
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
