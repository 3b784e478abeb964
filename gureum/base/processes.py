"""Processes of the host, told apart by more than their number."""

from __future__ import annotations


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 when there is none. With the pid it names a process for good,
    since pids are used again (proc(5), /proc/pid/stat field 22)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The name in parentheses may hold anything, also parentheses and spaces; what follows the last one is regular.
    return int(text[text.rindex(b")") + 1 :].split()[19])


def is_running(pid: int, ticks: int) -> bool:
    """Whether the process that started then still runs. One that has ended and that its parent has not asked after (a zombie) does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = text[text.rindex(b")") + 1 :].split()
    return fields[0] not in (b"Z", b"X") and int(fields[19]) == ticks
