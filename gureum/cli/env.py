"""`gureum env`: what makes AWS clients, Docker's and kubectl use this gureum. `eval "$(gureum env)"`."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import time
from pathlib import Path

from gureum.base.homes import Home, docker_socket, running
from gureum.base.settings import Settings, load_settings
from gureum.cli.output import Failure
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
        variables["KUBECONFIG"] = str(home.kubeconfig)
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
