"""A tour: runs stock command lines (AWS's; Docker's and kubectl where there are some) against this gureum, and prints what it runs. The
stories that are told with it are beside it.

It asks this home alone, whatever the user's own AWS settings say.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gureum.base.homes import Home
from gureum.base.settings import Settings
from gureum.cli.env import client_environment
from gureum.cli.output import Failure

_HEEDING_MINOR = {1: 29, 2: 13}
"""By major version, the first minor one of AWS's command line that heeds AWS_ENDPOINT_URL (its changelogs, July 2023)."""


class Tour:
    """Runs and prints commands; `made` holds the ids of what was made, by the demo's own names."""

    def __init__(self, settings: Settings, home: Home, *, quiet: bool = False) -> None:
        self.home = home
        self.settings = settings
        self.pool = ipaddress.ip_network(home.pool)
        self.quiet = quiet
        self.folder = Path()
        self.made: dict[str, str] = {}
        self.times: list[tuple[str, float]] = []
        self.calls, self.client_s = 0, 0.0
        self._client = aws_client()
        # The user's own AWS settings (profiles, pagers, proxies for an internet that is not meant) are none of the tour's.
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
        } | client_environment(settings, home, settings.default_account)
        self._environment |= {
            "AWS_PAGER": "",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "DOCKER_CONFIG": "/nonexistent",
            "KUBECONFIG": str(home.kubeconfig),
        }

    def title(self, text: str) -> None:
        self.say(f"\n{bold(text)}")

    def say(self, text: str) -> None:
        print(text, flush=True)

    def result(self, text: str) -> None:
        self.say(f"  {green('✓')} {text}")

    def aws(self, *words: str, query: str = "", check: bool = True) -> Any:
        """Runs `aws WORDS`; returns its decoded output, {} when it has none. Failure with AWS's own words."""
        command = ["aws", *words, *(["--query", query] if query else []), "--output", "json"]
        started = time.monotonic()
        if not self.quiet:
            self.say(f"  $ {dim(shown(command[:-2]))}")
        done = subprocess.run(
            [self._client, *command[1:]],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        took = time.monotonic() - started
        self.calls, self.client_s = self.calls + 1, self.client_s + took
        if done.returncode != 0:
            if not check:
                return {}
            raise Failure(f"`{shown(command)}` failed: {done.stderr.strip()}")
        if not self.quiet:
            self.say(f"    {dim(f'{took:.2f} s')}")
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def has(self, program: str) -> bool:
        return program_named(program) is not None

    def run(self, program: str, *words: str, check: bool = True, quiet: bool = False) -> str:
        """Runs another command line; returns what it wrote, without the last line's end. Failure with its own words."""
        command = [program, *words]
        if not (quiet or self.quiet):
            self.say(f"  $ {dim(shown(command))}")
        done = subprocess.run(
            [program_named(program) or program, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if check and done.returncode != 0:
            raise Failure(f"`{shown(command)}` failed: {done.stderr.strip()}")
        return done.stdout.rstrip()

    def make(self, name: str, *words: str, query: str) -> str:
        """Runs a command that makes something; remembers and returns its id."""
        found = self.aws(*words, query=query)
        if not isinstance(found, str):
            raise Failure(f"`aws {' '.join(words[:2])}` answered no id: {found!r}")
        self.made[name] = found
        self.result(f"{name}: {found}")
        return found

    def measured(self, what: str, seconds: float) -> None:
        """A time for the summary."""
        self.times.append((what, seconds))

    def public(self, address: str) -> str:
        """The address, after a look that it is this home's own: the tour must never talk to anybody else."""
        if ipaddress.ip_address(address) not in self.pool:
            raise Failure(f"{address} is not one of this gureum's public addresses ({self.pool})")
        return address


def aws_client() -> str:
    """The stock AWS command line: one on PATH that serves, else the one that `make demo` installs beside us."""
    for found in (shutil.which("aws"), str(Path(sys.executable).parent / "aws")):
        if found and Path(found).exists() and heeds_endpoint(found):
            return found
    raise Failure(
        "there is no AWS command line that heeds AWS_ENDPOINT_URL (1.29 or 2.13, or newer): `make demo` installs one, or `pip install awscli`"
    )


def heeds_endpoint(program: str) -> bool:
    """Whether an AWS command line starts and knows AWS_ENDPOINT_URL. An older one, as Debian 12 has it, would talk to AWS itself."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"aws-cli/(\d+)\.(\d+)", done.stdout + done.stderr)
    if done.returncode != 0 or version is None:
        return False
    return int(version[2]) >= _HEEDING_MINOR.get(int(version[1]), 0)


def program_named(name: str) -> str | None:
    """The command of this name: one on PATH, else the one beside us."""
    beside = Path(sys.executable).parent / name
    return shutil.which(name) or (str(beside) if beside.exists() else None)


def shown(command: list[str]) -> str:
    return " ".join(shlex.quote(word) for word in command)


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def dim(text: str) -> str:
    return f"\033[2m{text}\033[0m" if sys.stdout.isatty() else text


def green(text: str) -> str:
    return f"\033[32m{text}\033[0m" if sys.stdout.isatty() else text
