"""`gureum COMMAND …`: finds the command's file, gives it its arguments, turns its errors into one line and an exit code.

A command is a module `gureum.cli.NAME` with `configure(parser)` and `run(arguments) -> exit code`; only the module of the
command that is called is imported, since `gureum up` is to answer within half a second.

Exit codes: 0 done; 1 it did not work; 2 wrong usage; 3 gureum is not running; `exec` and `ssh` pass on the program's own.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from gureum.base.homes import HomeError
from gureum.base.settings import SettingsError
from gureum.cli.output import Failure, say

COMMANDS = {
    "up": "start gureum",
    "down": "stop machines and gureum; all state is kept",
    "status": "what runs",
    "restart": "new daemon and agent (an upgrade, say); machines stay up",
    "env": "print what makes AWS clients, docker and kubectl use this gureum",
    "demo": "a tour: networks, machines, load balancers, scaling, containers, manifests",
    "exec": "run a program in a machine",
    "ssh": "log in to a machine",
    "logs": "output of a machine, or the log of daemon, agent or supervisor",
    "explain": "the objects under a thing, with their events",
    "interrupt": "give a Spot Instance its interruption notice",
    "kube": "clusters and simulated nodes of the Kubernetes API",
    "coverage": "which operations are real, which keep state only",
    "doctor": "check this host; remove what lost homes left behind",
    "version": "print the version",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name = "version" if given[0] == "--version" else given[0]
    if name not in COMMANDS:
        say(f"gureum: there is no command `{name}`; `gureum --help` lists them")
        return 2
    command = importlib.import_module(f"gureum.cli.{name}")
    parser = argparse.ArgumentParser(prog=f"gureum {name}", description=COMMANDS[name])
    command.configure(parser)
    try:
        return int(command.run(parser.parse_args(given[1:])))
    except Failure as failure:
        say(f"gureum: {failure}")
        return failure.exit_code
    except (HomeError, SettingsError) as error:
        say(f"gureum: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `gureum status | head`: the reader has seen enough. Python would complain once more at its end.
        sys.stderr.close()
        return 0


def usage() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: gureum COMMAND [OPTIONS]", "", *lines, "", "`gureum COMMAND --help` tells a command's options."]
    )


if __name__ == "__main__":
    sys.exit(main())
