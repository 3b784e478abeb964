"""The keys with which a user leaves a terminal while the program in it goes on ("ctrl-p,ctrl-q" where none are named)."""

from __future__ import annotations

import asyncio

DEFAULT = "ctrl-p,ctrl-q"
_NAMED = {f"ctrl-{chr(letter).lower()}": letter & 0x1F for letter in range(ord("@"), ord("_") + 1)}


def bytes_of(text: str) -> bytes:
    """What a terminal sends for "ctrl-p,x,DEL". Docker: a single character, `ctrl-` with one of a to z @ [ \\ ] ^ _, or DEL. ValueError."""
    return b"".join(_key(one) for one in text.split(",")) if text else b""


def _key(text: str) -> bytes:
    if text in _NAMED:
        return bytes([_NAMED[text]])
    if text == "DEL":
        return b"\x7f"
    if len(text.encode()) != 1:
        raise ValueError(f"Unknown character: '{text}'")
    return text.encode()


class DetachKeys:
    """Looks for them in what is typed. `event` is set by them."""

    def __init__(self, keys: bytes, event: asyncio.Event) -> None:
        self._keys, self._event = keys, event
        self._held = b""

    def __call__(self, data: bytes) -> bytes:
        """What of it is for the program."""
        if not self._keys:
            return data
        given = bytearray()
        for byte in data:
            self._held += bytes([byte])
            if self._keys == self._held:
                self._event.set()
                return bytes(given)
            while self._held and not self._keys.startswith(self._held):
                given += self._held[:1]
                self._held = self._held[1:]
        return bytes(given)
