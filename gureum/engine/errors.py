"""The two error words of reconcile, and how they differ from users' faults.

    ReconcileError
    ├── Retry(after_s, why)    again later: something is not there yet, the machine refused for now
    └── Broken(why)            the user must act; not tried again before the object changes

Both appear in the object's events. Users' faults in an API call are the API's own errors, raised where the rule is checked.
"""

from __future__ import annotations


class ReconcileError(Exception):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Retry(ReconcileError):
    """`after_s` seconds from now; 0 means with the queue's own back-off."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class Broken(ReconcileError):
    pass
