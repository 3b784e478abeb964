"""Whom programs in a machine run as: its own accounts, and `ssm-user`, which AWS's agent makes with sudo without a password."""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec

from gureum.ports import PortError

SSM_USER = "ssm-user"
LIMIT_OUTPUT_BYTES = 4096
_ID = re.compile(r"[0-9]{1,5}")
_SHELL = re.compile(r"/[A-Za-z0-9_./+-]{1,100}")
_HOME = re.compile(r"/[^\0:\n]{0,200}")

_FIND = """\
user=$1
missing() { ! grep -q '^ssm-user:' /etc/passwd; }
if [ "$user" = ssm-user ] && missing; then
    tries=0
    until mkdir /run/ssm-user.lock 2>/dev/null || [ $tries -gt 50 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    if ! missing; then
        :
    elif command -v useradd >/dev/null; then
        useradd -m -s /bin/sh ssm-user
    else
        id=1001
        while grep -q ":$id:" /etc/passwd /etc/group; do id=$((id + 1)); done
        echo "ssm-user:x:$id:" >> /etc/group
        sed -i -e 's/^\\(wheel:[^:]*:[^:]*:\\)$/\1ssm-user/; t' -e 's/^wheel:.*[^:]$/&,ssm-user/' /etc/group
        [ ! -f /etc/shadow ] || echo 'ssm-user:*:19000:0:99999:7:::' >> /etc/shadow
        mkdir -p /home/ssm-user
        chown $id:$id /home/ssm-user
        echo "ssm-user:x:$id:$id::/home/ssm-user:/bin/sh" >> /etc/passwd
    fi >/dev/null 2>&1
    if [ -d /etc/sudoers.d ]; then
        (umask 337; echo 'ssm-user ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/ssm-agent-users)
    fi
    rmdir /run/ssm-user.lock 2>/dev/null
fi
while IFS=: read -r name _ uid gid _ home shell; do
    if [ "$name" = "$user" ]; then
        [ -d "$home" ] || home=/
        [ -x "$shell" ] || shell=/bin/sh
        echo "$uid:$gid:$(id -G "$user"):$home:$shell"
        exit 0
    fi
done < /etc/passwd
exit 3
"""


class Account(msgspec.Struct, frozen=True):
    """An account of a machine, by its numbers there."""

    name: str
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"
    shell: str = "/bin/sh"


ROOT = Account("root")


async def account_in(link: Any, machine: str, user: str = "") -> Account:
    """The account `user` of a machine; "" means ssm-user, who is made where there is none. PortError when there is no such account, or
    what the machine says of it is nonsense."""
    name = user or SSM_USER
    request = {"op": "exec", "name": machine, "args": ["/bin/sh", "-c", _FIND, "sh", name], "timeout_s": 20.0}
    answer = await link.ask(request)
    if answer["exit_code"] == 3:
        raise PortError(f"the machine has no account {name}", retry=False)
    text = base64.b64decode(answer["stdout"])[:LIMIT_OUTPUT_BYTES].decode("utf-8", "replace").strip()
    return read_account(name, text) if text else ROOT


def read_account(name: str, text: str) -> Account:
    """ "1001:1001:1001 10:/home/ssm-user:/bin/sh". PortError."""
    parts = text.split(":")
    numbers = [*parts[:2], *parts[2].split()] if len(parts) == 5 else []
    if not numbers or not all(_ID.fullmatch(one) and int(one) < 65536 for one in numbers) or len(numbers) > 40:
        raise PortError(f"the machine's account {name} cannot be read", retry=False)
    uid, gid, *groups = map(int, numbers)
    home = parts[3] if _HOME.fullmatch(parts[3]) else "/"
    shell = parts[4] if _SHELL.fullmatch(parts[4]) else "/bin/sh"
    return Account(name, uid, gid, tuple(one for one in groups if one != gid), home, shell)
