"""ListSnapshotBlocks, ListChangedBlocks, GetSnapshotBlock: the blocks of a snapshot as they lie on the machine.

A block is 512 KiB. What is listed was written once and is not all zeros; a block's token says which block of which snapshot it is for, sealed, and
is good for a week. Blocks are not taken from outside (StartSnapshot and its relatives): a volume's bytes are a file system that the host's kernel
mounts, and it must have written them itself. Of an encrypted snapshot there is only ciphertext, with which nobody could do anything, so its blocks
are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import SNAPSHOT
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, seen_snapshot
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.ports import PortError

BLOCK = 512 << 10
TOKEN_LIFE_S = 7 * 86400.0
LEAST_PAGE, MOST_PAGE = 100, 10_000
GIB = 1 << 30
_CONTEXT = "ebs-block"


class Token(msgspec.Struct, frozen=True, array_like=True):
    snapshot: str
    index: int
    expires: float


@operation("ListSnapshotBlocks")
async def list_snapshot_blocks(call: Call) -> Result:
    """AWS: ebs ListSnapshotBlocks."""
    snapshot = _find(call, call.params["SnapshotId"])
    digests = await _digests(call, snapshot)
    indexes, token = _page(call, digests)
    expires = call.now + TOKEN_LIFE_S
    blocks = [{"BlockIndex": one, "BlockToken": _token(call, snapshot, one, expires)} for one in indexes]
    return _answer("Blocks", blocks, snapshot, expires, token)


@operation("ListChangedBlocks")
async def list_changed_blocks(call: Call) -> Result:
    """AWS: ebs ListChangedBlocks: between two snapshots of one volume; without a first one, all blocks of the second."""
    second = _find(call, call.params["SecondSnapshotId"])
    first = _find(call, call.params["FirstSnapshotId"]) if call.params.get("FirstSnapshotId") else None
    if first is not None and first.spec.volume != second.spec.volume:
        raise _invalid("UNRELATED_SNAPSHOTS", "The snapshots are not of the same volume.")
    before = await _digests(call, first) if first else {}
    after = await _digests(call, second)
    changed = [one for one in sorted(before.keys() | after.keys()) if before.get(one) != after.get(one)]
    indexes, token = _page(call, changed)
    expires = call.now + TOKEN_LIFE_S
    blocks = []
    for index in indexes:
        shown: dict[str, Any] = {"BlockIndex": index}
        if first is not None and index in before:
            shown["FirstBlockToken"] = _token(call, first, index, expires)
        if index in after:
            shown["SecondBlockToken"] = _token(call, second, index, expires)
        blocks.append(shown)
    return _answer("ChangedBlocks", blocks, second, expires, token)


@operation("GetSnapshotBlock")
async def get_snapshot_block(call: Call) -> Result:
    """AWS: ebs GetSnapshotBlock: with its SHA-256."""
    snapshot, index = _find(call, call.params["SnapshotId"]), call.params["BlockIndex"]
    token = _read_token(call, call.params["BlockToken"])
    if (token.snapshot, token.index) != (snapshot.meta.name, index) or token.expires <= call.now:
        raise _invalid("INVALID_BLOCK_TOKEN", "The block token is invalid.")
    request = {"op": "read_snapshot", "name": snapshot.meta.name, "offset": index * BLOCK, "length": BLOCK}
    content = base64.b64decode((await _ask(call, request))["data"])
    return {
        "DataLength": len(content),
        "BlockData": content,
        "Checksum": base64.b64encode(hashlib.sha256(content).digest()).decode(),
        "ChecksumAlgorithm": "SHA256",
    }


def _find(call: Call, id_: str) -> Snapshot:
    """AWS: ValidationException, ResourceNotFoundException."""
    try:
        snapshot = seen_snapshot(call, ids.check_id(SNAPSHOT, id_))
    except AwsError as error:
        raise _invalid("INVALID_SNAPSHOT_ID", error.message) from error
    if snapshot is None or snapshot.status.state == "error":
        text = f"The snapshot '{id_}' does not exist."
        raise AwsError("ResourceNotFoundException", text, fields={"Reason": "SNAPSHOT_NOT_FOUND"})
    if snapshot.status.state != "completed":
        raise _invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{id_}' is not completed.")
    if snapshot.status.archived:
        raise _invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{id_}' is in the archive tier.")
    if snapshot.spec.key:
        raise ids.not_built("Reading the blocks of encrypted snapshots")
    return snapshot


async def _digests(call: Call, snapshot: Snapshot) -> dict[int, str]:
    """Block → something that is another when its content is, in order."""
    answer = await _ask(call, {"op": "snapshot_blocks", "name": snapshot.meta.name})
    per_block = BLOCK // int(answer["block"])
    found: dict[int, str] = {}
    for index, digest in answer["blocks"]:
        found[index // per_block] = found.get(index // per_block, "") + f"{index % per_block}:{digest} "
    return dict(sorted(found.items()))


async def _ask(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = await call.agent.ask(request)
    except PortError as error:
        text = f"The blocks cannot be read: {error.why}"
        raise AwsError("InternalServerException", text, status=500) from error
    return answer


def _page(call: Call, indexes: Iterable[int]) -> tuple[list[int], str]:
    """AWS: ValidationException."""
    params, start = call.params, call.params.get("StartingBlockIndex") or 0
    size = params.get("MaxResults", MOST_PAGE)
    if not LEAST_PAGE <= size <= MOST_PAGE:
        raise _invalid("INVALID_PARAMETER_VALUE", f"MaxResults is between {LEAST_PAGE} and {MOST_PAGE}.")
    if params.get("NextToken"):
        try:
            start = int(base64.urlsafe_b64decode(params["NextToken"]))
        except (binascii.Error, ValueError) as error:
            raise _invalid("INVALID_PAGE_TOKEN", "The page token is invalid.") from error
    left = [one for one in indexes if one >= start]
    token = base64.urlsafe_b64encode(str(left[size]).encode()).decode() if len(left) > size else ""
    return left[:size], token


def _token(call: Call, snapshot: Snapshot, index: int, expires: float) -> str:
    packed = msgspec.msgpack.encode(Token(snapshot.meta.name, index, expires))
    return base64.b64encode(call.sealer.seal_bytes(packed, _CONTEXT)).decode()


def _read_token(call: Call, text: str) -> Token:
    try:
        return msgspec.msgpack.decode(
            call.sealer.open_bytes(base64.b64decode(text, validate=True), _CONTEXT), type=Token
        )
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise _invalid("INVALID_BLOCK_TOKEN", "The block token is invalid.") from error


def _answer(name: str, blocks: list[dict[str, Any]], snapshot: Snapshot, expires: float, token: str) -> Result:
    shown: dict[str, Any] = {
        name: blocks,
        "ExpiryTime": expires,
        "VolumeSize": snapshot.spec.size_gib,
        "BlockSize": BLOCK,
    }
    return shown | ({"NextToken": token} if token else {})


def _invalid(reason: str, text: str) -> AwsError:
    return AwsError("ValidationException", text, fields={"Reason": reason})
