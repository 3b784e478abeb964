"""The numbers of a data channel: what was sent and not yet acknowledged, what is expected next, when to send again. No input or output.

    send ──► unacknowledged, in order ──acknowledged──► forgotten
                  └─ nothing heard for a while: the oldest goes again; the other side connects anew: all go again

Both sides number their stream messages from 0. What comes too early is not taken (its sender sends it again), what came before is acknowledged once
more and dropped. AWS: the retransmission of session-manager-plugin (200 ms to 1 s, smoothed by measured times; of messages that went twice none is
measured, Karn).
"""

from __future__ import annotations

import uuid
from collections import OrderedDict

from gureum.aws.ssm.channel_messages import OUTPUT_STREAM, SYN, Message, pack

WINDOW = 512
"""So many messages may wait for acknowledgement; of at most 1 KiB (shells) or 32 KiB (ports) each."""
FIRST_WAIT_S, LEAST_WAIT_S, MOST_WAIT_S = 0.2, 0.2, 1.0
LAST_WAIT_S = 15.0


class _Sent:
    def __init__(self, message: Message, now: float) -> None:
        self.message = message
        self.first_at = self.last_at = now
        self.times = 1


class Channel:
    """`sent`, `expected`: where the numbers stand; 0 for a new channel."""

    def __init__(self, sent: int = 0, expected: int = 0) -> None:
        self.next_number = sent
        self.expected = expected
        self._unacknowledged: OrderedDict[int, _Sent] = OrderedDict()
        self._smoothed_s = 0.0
        self._variation_s = 0.0
        self._wait_s = FIRST_WAIT_S

    @property
    def waiting(self) -> int:
        return len(self._unacknowledged)

    @property
    def has_room(self) -> bool:
        return len(self._unacknowledged) < WINDOW

    @property
    def confirmed(self) -> int:
        """Everything before this number has been acknowledged."""
        return next(iter(self._unacknowledged), self.next_number)

    def send(self, payload_type: int, payload: bytes, now: float) -> bytes:
        """The next message of the stream."""
        flags = SYN if self.next_number == 0 else 0
        message = Message(OUTPUT_STREAM, self.next_number, payload, payload_type, flags, str(uuid.uuid4()))
        self._unacknowledged[self.next_number] = _Sent(message, now)
        self.next_number += 1
        return pack(message, now)

    def acknowledged(self, number: int, now: float) -> None:
        """Of a number that is not waited for, nothing happens."""
        found = self._unacknowledged.pop(number, None)
        if found is not None and found.times == 1:
            self._measure(max(0.0, now - found.first_at))

    def _measure(self, took_s: float) -> None:
        """RFC 6298, with the bounds of the plugin."""
        if not self._smoothed_s:
            self._smoothed_s, self._variation_s = took_s, took_s / 2
        else:
            self._variation_s += (abs(self._smoothed_s - took_s) - self._variation_s) / 4
            self._smoothed_s += (took_s - self._smoothed_s) / 8
        self._wait_s = min(max(self._smoothed_s + 4 * self._variation_s, LEAST_WAIT_S), MOST_WAIT_S)

    def due(self, now: float) -> list[bytes]:
        """The oldest message, when nothing has been heard of it for too long. Each time it waits twice as long."""
        oldest = next(iter(self._unacknowledged.values()), None)
        if oldest is None or now < oldest.last_at + min(self._wait_s * 2 ** (oldest.times - 1), LAST_WAIT_S):
            return []
        return [self._again(oldest, now)]

    def everything(self, now: float) -> list[bytes]:
        """All that is not acknowledged, for a client that has connected anew."""
        return [self._again(one, now) for one in self._unacknowledged.values()]

    def _again(self, sent: _Sent, now: float) -> bytes:
        sent.times += 1
        sent.last_at = now
        return pack(sent.message, now)
