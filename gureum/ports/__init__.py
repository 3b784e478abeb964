"""Contracts to the machine. A port is a Protocol of at most twelve verbs plus the frozen structs its verbs take.

Rules that hold for every verb of every port:
- Idempotent: `ensure_*` looks first, then makes what is missing; `remove_*` of what is gone is success.
- Safe after a crash: a half-made thing is completed or replaced by the next `ensure_*`.
- Names come from the control plane: `[a-z0-9-]{1,40}`; anything else is refused with ValueError.
- A verb raises `PortError(why)` when the machine refuses; the text is for the user who reads `gureum explain`.
Drivers fill ports. The simulated twins of networks, images, volumes and containers pass the same contract suites (tests/contract).
"""

from __future__ import annotations


class PortError(Exception):
    """The machine refused. `why` is one sentence a user can act on; `retry` says whether trying again may help."""

    def __init__(self, why: str, *, retry: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.retry = retry
