"""The program that starts a machine's PID 1: it gives up the console as controlling terminal, and becomes the init.

The runtime makes the console the controlling terminal of PID 1. Under a kernel of its own an init has none: there Ctrl-C on the console is for
whoever has signed in on it, and a getty can have it as its own. As the runtime leaves it, Ctrl-C would reach PID 1 (SIGINT, "power off"), and nobody
who signs in would have job control. Only PID 1 itself can change that (tty_ioctl(4): TIOCNOTTY), before it is the guest's program; so it begins
as this one, a static program of a few instructions that is shown to the machine in its /dev.

    ioctl(0, TIOCNOTTY); execve(argv[1], &argv[1], environ); exit(127)
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

TARGET = "/dev/.init"
"""Where the machine sees it: /dev is made anew with each start, so nothing is left on its disk."""
_BASE = 0x400000
_HEADERS_BYTES = 64 + 56
_X86_64 = bytes.fromhex(
    "b810000000"  # mov eax, 16              ioctl
    "31ff"  # xor edi, edi
    "be22540000"  # mov esi, 0x5422          TIOCNOTTY
    "31d2"  # xor edx, edx
    "0f05"  # syscall
    "488b0424"  # mov rax, [rsp]             argc
    "488d742410"  # lea rsi, [rsp+16]        &argv[1]
    "488b3e"  # mov rdi, [rsi]
    "488d54c410"  # lea rdx, [rsp+rax*8+16]  environ, behind argv's end
    "b83b000000"  # mov eax, 59              execve
    "0f05"  # syscall
    "bf7f000000"  # mov edi, 127
    "b83c000000"  # mov eax, 60              exit
    "0f05"  # syscall
)
_AARCH64 = struct.pack(
    "<15I",
    0xD28003A8,  # mov x8, 29            ioctl
    0xD2800000,  # mov x0, 0
    0xD28A8441,  # mov x1, 0x5422        TIOCNOTTY
    0xD2800002,  # mov x2, 0
    0xD4000001,  # svc 0
    0xF94003E3,  # ldr x3, [sp]          argc
    0xF9400BE0,  # ldr x0, [sp, 16]
    0x910043E1,  # add x1, sp, 16        &argv[1]
    0x8B236FE2,  # add x2, sp, x3, lsl 3
    0x91004042,  # add x2, x2, 16        environ, behind argv's end
    0xD2801BA8,  # mov x8, 221           execve
    0xD4000001,  # svc 0
    0xD2800FE0,  # mov x0, 127
    0xD2800BA8,  # mov x8, 93            exit
    0xD4000001,  # svc 0
)
_CODE = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}
"""By uname's word for the processor: ELF's number for it, and the instructions. Elsewhere machines start without it."""


def write(folder: Path, machine: str) -> Path | None:
    """Makes the program's file in `folder` and returns it; None where it would not run: on another processor, or where nothing may be executed."""
    found = _CODE.get(machine)
    if found is None or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return None
    path = folder / "free-console"
    draft = path.with_suffix(".new")
    draft.write_bytes(program(*found))
    draft.chmod(0o755)
    draft.rename(path)
    return path


def program(processor: int, code: bytes) -> bytes:
    """A whole ELF file (elf(5)): the file's header, one segment that is loaded, the instructions."""
    size = _HEADERS_BYTES + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, processor, 1, _BASE + _HEADERS_BYTES, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return ident + header + segment + code


def may_start(root: str, args: tuple[str, ...]) -> bool:
    """Whether the program there is found without a search: the runtime tells better what is wrong with one that is not."""
    return bool(args) and args[0].startswith("/") and os.path.lexists(root + args[0])
