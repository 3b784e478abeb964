"""`gureum env`: what makes AWS clients use this gureum. `eval "$(gureum env)"`."""

from __future__ import annotations

import argparse
import json
import shlex

from gureum.base.homes import Home
from gureum.base.settings import Settings, load_settings
from gureum.cli.running import current_home


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as a JSON object instead of shell commands")
    parser.add_argument("--account", metavar="ID", help="act as this account (12 digits)")


def run(arguments: argparse.Namespace) -> int:
    settings, home = load_settings(), current_home()
    variables = client_environment(settings, home, arguments.account or settings.default_account)
    if arguments.json:
        print(json.dumps(variables, indent=2))
    else:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    return 0


def client_environment(settings: Settings, home: Home, account: str) -> dict[str, str]:
    """The variables that AWS's SDKs and tools read. An access key of 12 digits is the account of that number."""
    return {
        "AWS_ENDPOINT_URL": home.endpoint,
        "AWS_ACCESS_KEY_ID": account,
        "AWS_SECRET_ACCESS_KEY": settings.secret_key,
        "AWS_DEFAULT_REGION": settings.default_region,
        "AWS_REGION": settings.default_region,
        # Else a client whose credentials fail would ask the metadata service of a machine that is none, for seconds.
        "AWS_EC2_METADATA_DISABLED": "true",
    }
