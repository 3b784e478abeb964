"""Writes docs/settings.md from the table of settings."""

from __future__ import annotations

from pathlib import Path

from gureum.base.settings import describe

HEAD = """# Settings

Each is a key of `gureum.toml` in the home, or an environment variable, which wins. A wrong key or value is an error that names it.
`gureum restart` makes daemon and agent read the file again. This page is made by `make docs`.

"""

TAIL = """
`GUREUM_HOME` chooses the home, the folder that holds everything: several homes run side by side on one machine, each with an id,
ports and public addresses of its own (it remembers them in its `identity.json`). The default home is `/var/lib/gureum`; for users
other than root, who can only simulate, it is `~/.local/share/gureum`.
"""

if __name__ == "__main__":
    page = Path(__file__).parent.parent / "docs" / "settings.md"
    page.write_text(HEAD + describe() + TAIL)
