"""`gureum env`: what makes AWS clients, Docker's and kubectl use this gureum. `eval "$(gureum env)"`."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import re
import shlex
import time
from pathlib import Path

from gureum.base.homes import Home, docker_socket, running
from gureum.base.settings import Settings, load_settings
from gureum.cli.output import Failure, say
from gureum.cli.running import current_home

KUBECONFIG_WAIT_S = 5.0
_ACCOUNT = re.compile(r"[0-9]{12}")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as a JSON object instead of shell commands")
    parser.add_argument("--account", metavar="ID", help="act as this account (12 digits)")


def run(arguments: argparse.Namespace) -> int:
    settings, home = load_settings(), current_home()
    account = settings.default_account if arguments.account is None else arguments.account
    if not _ACCOUNT.fullmatch(account):  # any other key is the default account's
        raise Failure(f"`{account}` is no account: it has 12 digits")
    variables = client_environment(settings, home, account)
    if running(home) and wait_for_file(home.kubeconfig):
        variables["KUBECONFIG"] = str(readable_kubeconfig(home, caller()))
    tell_of_docker(variables.get("DOCKER_HOST", ""), caller())
    if arguments.json:
        print(json.dumps(variables, indent=2))
    else:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    return 0


def wait_for_file(path: Path) -> bool:
    """The daemon writes the kubeconfig right after its very first start."""
    deadline = time.monotonic() + KUBECONFIG_WAIT_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def caller() -> int:
    """Uid of who called by sudo; 0 when nobody did."""
    text = os.environ.get("SUDO_UID", "")
    return int(text) if os.geteuid() == 0 and text.isdigit() else 0


def readable_kubeconfig(home: Home, uid: int) -> Path:
    """For who called by sudo, and goes on without: a copy of his own, since nobody but root reads the home."""
    if not uid:
        return home.kubeconfig
    path = home.run / f"kubeconfig-{uid}"
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(home.kubeconfig.read_bytes())
        os.fchown(file.fileno(), uid, -1)
    draft.rename(path)
    return path


def renew_kubeconfigs(home: Home) -> None:
    """Those copies, after the clusters have changed."""
    for path in home.run.glob("kubeconfig-*"):
        uid = path.name.rpartition("-")[2]
        if uid.isdigit():
            readable_kubeconfig(home, int(uid))


def tell_of_docker(host: str, uid: int) -> None:
    """A line on standard error for who called by sudo and may not use Docker's socket."""
    path = Path(host.removeprefix("unix://"))
    if not uid or not host or not path.exists():
        return
    status = path.stat()
    try:
        user = pwd.getpwuid(uid)
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        groups = []
    if status.st_uid != uid and status.st_gid not in groups:
        say(
            "docker needs root here: `sudo --preserve-env=DOCKER_HOST docker …`, or a group of yours as `docker_group` (docs/settings.md)"
        )


def client_environment(settings: Settings, home: Home, account: str) -> dict[str, str]:
    """The variables that AWS's and Docker's SDKs and tools read. An access key of 12 digits is the account of that number."""
    path = docker_socket(settings, home)
    return {
        **({"DOCKER_HOST": f"unix://{path}"} if path else {}),
        "AWS_ENDPOINT_URL": home.endpoint,
        "AWS_ACCESS_KEY_ID": account,
        "AWS_SECRET_ACCESS_KEY": settings.secret_key,
        "AWS_DEFAULT_REGION": settings.default_region,
        "AWS_REGION": settings.default_region,
        # Else a client whose credentials fail would ask the metadata service of a machine that is none, for seconds.
        "AWS_EC2_METADATA_DISABLED": "true",
        # Else StartLiveTail and a few others call `stream-127.0.0.1`, which is no name (botocore heeds it since March 2025).
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
    }
