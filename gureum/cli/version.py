"""`gureum version`."""

from __future__ import annotations

import argparse

from gureum import __version__


def configure(parser: argparse.ArgumentParser) -> None:
    """It has no options."""


def run(arguments: argparse.Namespace) -> int:
    print(f"gureum {__version__}")
    return 0
