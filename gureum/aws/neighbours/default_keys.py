"""The keys of AWS's own aliases in KMS (alias/aws/ebs …): made by moto with the first look at one, be it a read, which is in no journal.

So neither their ids nor their material may be drawn: the ids are those that ListAliases tells before a key is there, the material is derived from the
home's key. Else what such a key has encrypted would be lost with a restart. A look that made one is kept in the journal (`were_made`): so its date,
and its place in lists, are the same afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.kms.models import KmsBackend
from moto.kms.utils import RESERVED_ALIASE_TARGET_KEY_IDS

_MAKE = KmsBackend._generate_default_keys
_made: list[str] = []


def lead(material: Callable[[str], bytes], wanted: Callable[[], bool]) -> None:
    """`material`: 32 bytes for a name, the same each time. `wanted`: whether to do so now; no for calls of journals of before."""

    def make(backend: Any, alias_name: str) -> str | None:
        drawn = _MAKE(backend, alias_name)
        if drawn is None or not wanted():
            return drawn
        key = backend.keys.pop(drawn)
        name = f"kms/{backend.account_id}/{backend.region_name}/{alias_name}"
        key.arn = key.arn.replace(key.id, RESERVED_ALIASE_TARGET_KEY_IDS[alias_name])
        key.id = RESERVED_ALIASE_TARGET_KEY_IDS[alias_name]
        key.key_material = material(name)
        key.key_manager = "AWS"
        key.aliases[alias_name].target_key_id = key.id
        backend.keys[key.id] = key
        _made.append(key.arn)
        return str(key.id)

    setattr(KmsBackend, "_generate_default_keys", make)  # noqa: B010 - moto has no other way in


def were_made() -> bool:
    """Whether any were since this was last asked."""
    found = bool(_made)
    _made.clear()
    return found
