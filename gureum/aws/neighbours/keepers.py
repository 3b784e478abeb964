"""What moto takes from the system by itself, where a repeated call must find it again: keys' material (KMS); uploads' ids and buckets' dates (S3).

`take` tells what is new since it last looked. When a call is made again, `give` is told of it before, so that what is dear to make is not made again;
`put` puts the rest in the place of what the repeated call has drawn.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gureum.aws.neighbours import key_pairs

_PRIVATE = "/private"


class Keeper(Protocol):
    """For one service. `backend` is moto's state of it in an account and region."""

    def take(self, backend: Any) -> dict[str, bytes]: ...
    def give(self, kept: dict[str, bytes]) -> None: ...
    def put(self, backend: Any, kept: dict[str, bytes]) -> None: ...


def keeper_of(service: str) -> Keeper | None:
    """A new one; None for services that draw nothing."""
    if service == "kms":
        return KeyMaterial()
    return Buckets() if service == "s3" else None


class KeyMaterial:
    """Of each KMS key: `ID` → its material, `ID/private` → its private key (PKCS #8). A key may get new material (rotation, import)."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, Any]] = {}

    def take(self, backend: Any) -> dict[str, bytes]:
        kept: dict[str, bytes] = {}
        for id_, key in backend.keys.items():
            found = (key.key_material, key.private_key)
            name = f"{key.arn}"
            known = self._known.get(name, (None, None))
            if found[0] is not known[0]:
                kept[id_] = found[0] or b""
            if found[1] is not known[1] and found[1] is not None:
                kept[f"{id_}{_PRIVATE}"] = found[1].private_key.private_bytes(
                    Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
                )
            self._known[name] = found
        return kept

    def give(self, kept: dict[str, bytes]) -> None:
        key_pairs.give([value for name, value in kept.items() if name.endswith(_PRIVATE)])

    def put(self, backend: Any, kept: dict[str, bytes]) -> None:
        key_pairs.give([])
        for name, value in kept.items():
            id_, _, private = name.partition("/")
            key = backend.keys.get(id_)
            if key is None:
                continue
            if private:
                if key.private_key is not None:  # journals of before hold pairs of keys that have none
                    key.private_key.private_key = key_pairs.opened(value)
            else:
                key.key_material = value
            self._known[key.arn] = (key.key_material, key.private_key)


class Buckets:
    """Of S3: `BUCKET/` → when the bucket was made (ISO 8601); `BUCKET/ID` → the key that a multipart upload is for."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def take(self, backend: Any) -> dict[str, bytes]:
        now: dict[str, bytes] = {}
        for bucket in backend.buckets.values():
            now[f"{bucket.name}/"] = bucket.creation_date.isoformat().encode()
            now |= {f"{bucket.name}/{id_}": upload.key_name.encode() for id_, upload in bucket.multiparts.items()}
        known = self._known.get(backend.account_id, set())
        self._known[backend.account_id] = set(now)
        return {name: value for name, value in now.items() if name not in known}

    def give(self, kept: dict[str, bytes]) -> None:
        """They cost nothing to make again."""

    def put(self, backend: Any, kept: dict[str, bytes]) -> None:
        for name, value in kept.items():
            bucket_name, _, id_ = name.partition("/")
            bucket = backend.buckets.get(bucket_name)
            known = self._known.setdefault(backend.account_id, set())
            # Journals of before tell of uploads again that are there, where calls of other accounts came between.
            if bucket is not None and (not id_ or id_ not in bucket.multiparts):
                self._put(bucket, id_, value, known)
            known.add(name)

    def _put(self, bucket: Any, id_: str, value: bytes, known: set[str]) -> None:
        if not id_:
            bucket.creation_date = datetime.fromisoformat(value.decode())
            return
        drawn = [one for one in bucket.multiparts if f"{bucket.name}/{one}" not in known]
        if drawn:
            upload = bucket.multiparts.pop(drawn[0])
            upload.id = id_
            bucket.multiparts[id_] = upload
