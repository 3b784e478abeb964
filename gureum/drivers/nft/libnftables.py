"""libnftables: JSON commands in, done or refused out. Write-only.

The library may abort() its whole process (1.0.6 does when it lists a set keyed by interface names), so only workers
load it, and they never list. A context is made per transaction, in the namespace where it shall act: the library
reopens sockets on its own.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable
from typing import Any

import msgspec

_NAMES = ("libnftables.so.1", "libnftables.so")
_OUTPUT_JSON = 1 << 4


class Nftables:
    """The loaded library. Raises OSError when it is not installed (Debian: libnftables1).

    Closing the socket of a transaction that deleted something waits for the kernel to be done with it (10 ms and more, with nothing for us
    in it). `leave`: called with a descriptor that is the last of such a socket; who gets it closes it, in a thread.
    """

    def __init__(self, leave: Callable[[int], object] = os.close) -> None:
        self._library = _load()
        self._leave = leave

    def run(self, commands: list[dict[str, Any]]) -> None:
        """Applies the commands (libnftables-json(5)) as one transaction in the present network namespace. OSError when refused."""
        text = msgspec.json.encode({"nftables": commands})
        number = _next_descriptor()
        context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        if not context:
            raise OSError("libnftables gave no context")
        held = os.dup(number) if _is_socket(number) else None
        try:
            self._library.nft_ctx_output_set_flags(context, _OUTPUT_JSON)
            self._library.nft_ctx_buffer_output(context)
            self._library.nft_ctx_buffer_error(context)
            if self._library.nft_run_cmd_from_buffer(context, text) != 0:
                said = self._library.nft_ctx_get_error_buffer(context) or b""
                raise OSError(f"nftables refused the rules: {said.decode(errors='replace').strip()[:500]}")
        finally:
            self._library.nft_ctx_free(context)
            if held is not None:
                self._leave(held)


def _next_descriptor() -> int:
    """The number that the next opened file gets: the library does not tell its socket's."""
    number = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.close(number)
    return number


def _is_socket(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False


def _load() -> ctypes.CDLL:
    for place, name in enumerate(_NAMES):
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            if place == len(_NAMES) - 1:
                raise
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_ctx_buffer_output.argtypes = [ctypes.c_void_p]
    library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library
