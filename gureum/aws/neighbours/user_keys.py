"""Access keys that IAM made for users: who calls with one, and whether it is good.

IAM's state is moto's and is read in moto's thread only; what a call needs of it is this table, made anew after each call that may have changed a
key. A deleted key leaves moto without a trace, but its deletion is a call: so it is known for good, and is not taken for a key of anybody.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gureum.aws.credentials import UserKey
from gureum.aws.neighbours.journal import Sent
from gureum.aws.neighbours.mends import OPERATION

_CHANGING = re.compile(r"(Create|Update|Delete)(AccessKey|User)$")
_DELETING = "DeleteAccessKey"


class UserKeys:
    """`get` may be called from everywhere, the rest by moto's thread."""

    def __init__(self) -> None:
        self._keys: dict[str, UserKey] = {}
        self._deleted: set[str] = set()

    def get(self, access_key: str) -> UserKey | None:
        found = self._keys.get(access_key)
        return UserKey("Deleted") if found is None and access_key in self._deleted else found

    def note(self, sent: Sent) -> bool:
        """Whether a call of IAM that went well may have changed a key; the table is old then. Parameters stand in a form, or in the address."""
        if not any(word in text for word in (b"AccessKey", b"User") for text in (sent.body, sent.url.encode())):
            return False
        params = parse_qs(sent.body.decode("latin-1")) if sent.body else parse_qs(urlsplit(sent.url).query)
        action = sent.headers.get(OPERATION) or params.get("Action", [""])[0]
        if action == _DELETING:
            self._deleted.update(params.get("AccessKeyId", ())[:1])
        return _CHANGING.match(action) is not None

    def read(self, states: Any) -> None:
        """`states`: of moto's IAM, account → partition → state."""
        found: dict[str, UserKey] = {}
        for account in list(states.keys()):
            for partition in list(states[account].keys()):
                found |= _keys_of(account, states[account][partition])
        self._deleted |= self._keys.keys() - found.keys()
        self._keys = found

    def clear(self) -> None:
        self._keys, self._deleted = {}, set()


def _keys_of(account: str, state: Any) -> dict[str, UserKey]:
    return {
        key.access_key_id: UserKey(key.status, account, user.arn, user.id, key.secret_access_key)
        for user in state.users.values()
        for key in user.access_keys
    }
