"""`gureum ssh ID`: logs in to a machine with the host's ssh client, through its public address.

The machine's facts come from the EC2 API. The key is `-i FILE`, else `NAME.pem` of the machine's key pair in the current folder,
`~/.ssh` or `~/.gureum/keys`, else what ssh itself offers. Host keys are kept per machine, since addresses are used again.
Where nothing answers at all, as with a default security group, the error says so at once, while ssh would wait for minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import os
import shutil
import socket
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import urlencode

from gureum.base.homes import Home
from gureum.base.settings import Settings, load_settings
from gureum.cli.api import get, open_connection, segment
from gureum.cli.output import Failure
from gureum.cli.running import current_home

KEY_FOLDERS = (Path(), Path("~/.ssh"), Path("~/.gureum/keys"))
SILENCE_S = 4  # a SYN that got lost is sent again after one and after three seconds


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--identity", metavar="FILE", help="the private key")
    parser.add_argument("-l", "--login", metavar="USER", default="root", help="the user to be (root)")
    parser.add_argument("id", help="the machine's id: i-…")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="run this instead of a shell")


def run(arguments: argparse.Namespace) -> int:
    home = current_home()
    client = shutil.which("ssh")
    if client is None:
        raise Failure("there is no ssh client on this host: install openssh-client, or use `gureum exec`")
    if home.simulate:
        raise Failure("this cloud is simulated: no machine runs that could be logged in to")
    machine = describe(home, load_settings(), *owner(home, arguments.id), arguments.id)
    address = machine.get("ipAddress")
    if not address:
        raise Failure(
            f"{arguments.id} has no public address: reach it from another machine, or use `gureum exec {arguments.id}`"
        )
    if is_silent(address):
        raise Failure(
            f"nothing answers at port 22 of {address}: its security groups, network ACLs and routes must let it in "
            f"(`aws ec2 authorize-security-group-ingress`); `gureum exec {arguments.id} -- CMD` needs none of them"
        )
    known = home.run / f"known_hosts.{arguments.id}" if os.access(home.run, os.W_OK) else Path("/dev/null")
    command = ssh_command(client, address, arguments, find_key(arguments.identity, machine.get("keyName", "")), known)
    os.execv(client, command)


def is_silent(address: str, port: int = 22, timeout_s: float = SILENCE_S) -> bool:
    """Whether a connection gets no answer, neither yes nor no. What else there is to say of it, ssh says best."""
    try:
        socket.create_connection((address, port), timeout_s).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def ssh_command(client: str, address: str, arguments: argparse.Namespace, key: str, known_hosts: Path) -> list[str]:
    rest = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    options = [
        "-o",
        "StrictHostKeyChecking=accept-new",
        "-o",
        "LogLevel=ERROR",
        "-o",
        f"UserKnownHostsFile={known_hosts}",
    ]
    identity = ["-i", key, "-o", "IdentitiesOnly=yes"] if key else []
    return [client, *options, *identity, "-l", arguments.login, address, *rest]


def find_key(given: str | None, name: str) -> str:
    """The file of the private key, "" to leave it to ssh."""
    if given:
        return given
    for folder in KEY_FOLDERS if name and "/" not in name else ():
        path = (folder / f"{name}.pem").expanduser()
        if path.exists():
            return str(path)
    return ""


def owner(home: Home, name: str) -> tuple[str, str]:
    """Account and region of a machine: its id alone names it."""
    found = get(home, f"explain/{segment(name)}")["objects"]
    machine = next((one for one in found if one["kind"] == "ec2.Instance"), None)
    if machine is None:
        raise Failure(f"{name} is no machine")
    account, _, region = machine["scope"].partition("/")
    return account, region


def describe(home: Home, settings: Settings, account: str, region: str, name: str) -> dict[str, str]:
    """The text fields of one machine, named as on the wire. AWS: ec2 DescribeInstances."""
    body = urlencode({"Action": "DescribeInstances", "Version": "2016-11-15", "InstanceId.1": name})
    connection = open_connection(home)
    try:
        host = f"{connection.host}:{connection.port}"
        signed = signature(settings.secret_key, account, region, host, body, time.time())
        connection.request("POST", "/", body, {"content-type": "application/x-www-form-urlencoded", **signed})
        answer = connection.getresponse()
        document = ET.fromstring(answer.read())  # noqa: S314, our own daemon wrote it
    except (OSError, http.client.HTTPException, ET.ParseError) as error:
        raise Failure(f"the daemon does not tell of {name}: {error}") from error
    finally:
        connection.close()
    return read_instance(document, name)


def signature(secret: str, account: str, region: str, host: str, body: str, now: float) -> dict[str, str]:
    """Headers that sign a POST of `body` to EC2's root path, for a gureum that verifies. AWS: Signature Version 4."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{moment[:8]}/{region}/ec2/aws4_request"
    names = "host;x-amz-date"
    canonical = f"POST\n/\n\nhost:{host}\nx-amz-date:{moment}\n\n{names}\n{hashlib.sha256(body.encode()).hexdigest()}"
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signed = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    told = f"AWS4-HMAC-SHA256 Credential={account}/{scope}, SignedHeaders={names}, Signature={signed}"
    return {"x-amz-date": moment, "authorization": told}


def read_instance(document: ET.Element, name: str) -> dict[str, str]:
    plain = {element.tag.rpartition("}")[2]: element.text or "" for element in document.iter()}
    if "Message" in plain:
        raise Failure(plain["Message"])
    for element in document.iter():
        fields = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in element}
        if fields.get("instanceId") == name:
            return fields
    raise Failure(f"there is no machine {name}")
