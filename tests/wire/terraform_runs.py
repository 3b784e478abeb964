"""Terraform as users run it, with the real AWS provider from a mirror on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CONFIGURATIONS = Path(__file__).parent / "terraform"
PROVIDER = "registry.terraform.io/hashicorp/aws"
PLACES = ("/opt/tf-plugins", "/usr/local/share/tf-plugins", "~/tf-plugins")


class Terraform:
    """A folder with a copy of a configuration, initialised. Skips the test where there is no Terraform, or no mirror (GUREUM_TF_PLUGINS)."""

    def __init__(self, folder: Path, configuration: str, **variables: str) -> None:
        mirror, binary = find_mirror(), shutil.which("terraform")
        if mirror is None or binary is None:
            pytest.skip("terraform or its provider mirror (GUREUM_TF_PLUGINS) is missing: Terraform is NOT tested here")
        self._folder = folder
        self._binary = binary
        shutil.copy(CONFIGURATIONS / configuration / "main.tf", folder)
        text = f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
        (folder / "rc").write_text(text)
        self._environment = os.environ | {
            "TF_CLI_CONFIG_FILE": str(folder / "rc"),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "NO_PROXY": "127.0.0.1",
            **{f"TF_VAR_{name}": value for name, value in variables.items()},
        }
        self.run("init")

    def run(self, *args: str) -> int:
        """The exit code: 0, or 2 of a plan that has something to do. Any other fails the test with what Terraform said."""
        done = subprocess.run(
            [self._binary, *args, "-no-color"],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode not in (0, 2):
            pytest.fail(f"terraform {' '.join(args)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        print(done.stdout[-4000:])  # pytest shows it with what failed
        return done.returncode

    def apply_change_destroy(self, after_each: Callable[[], None] = lambda: None) -> None:
        """Applied, nothing is left to do; so it is after a change of the variable `changed`; then all is destroyed. `after_each`: done after
        each that was applied."""
        plan, changed = ("plan", "-detailed-exitcode"), ("-var", "changed=true")
        self.run("apply", "-auto-approve")
        after_each()
        assert self.run(*plan) == 0
        assert self.run(*plan, *changed) == 2
        self.run("apply", "-auto-approve", *changed)
        after_each()
        assert self.run(*plan, *changed) == 0
        self.run("destroy", "-auto-approve", *changed)


def find_mirror() -> Path | None:
    places = (os.environ.get("GUREUM_TF_PLUGINS", ""), *PLACES)
    found = [Path(place).expanduser() for place in places if place]
    return next((place for place in found if (place / PROVIDER).is_dir()), None)
