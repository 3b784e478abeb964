"""Keys that SecureStrings name. All are sealed by the home's own key; a key of KMS that a parameter names must be there and good when the value is
written or opened: who disables the key closes the value. AWS: ssm PutParameter, GetParameter, InvalidKeyId.
"""

from __future__ import annotations

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.core.neighbours import NeighbourRefused

DEFAULT_KEY = "alias/aws/ssm"
"""The key that Systems Manager has of itself."""


def is_default(call: Call, key: str) -> bool:
    return key in (DEFAULT_KEY, f"arn:{call.partition}:kms:{call.region}:{call.account}:{DEFAULT_KEY}")


def check_key(call: Call, key: str) -> None:
    """`key`: an id, an alias, or the ARN of one. AWS: InvalidKeyId when it cannot encrypt and decrypt now. Unasked."""
    if is_default(call, key):
        return
    if not call.known.answers("kms"):
        raise AwsError("InvalidKeyId", f"Invalid keyId {key}")
    try:
        found = call.known.answer("kms", "DescribeKey", call.account, call.region, KeyId=key)["KeyMetadata"]
    except NeighbourRefused as refused:
        raise AwsError("InvalidKeyId", refused.text or f"Invalid keyId {key}") from refused
    if found.get("AWSAccountId", call.account) != call.account:
        raise AwsError("InvalidKeyId", f"Invalid keyId {key}")
    if found.get("KeyState", "Enabled") != "Enabled":
        text = "is disabled." if found["KeyState"] == "Disabled" else f"is {found['KeyState']}."
        raise AwsError("InvalidKeyId", f"{found['Arn']} {text}")
    if found.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        raise AwsError("InvalidKeyId", f"{found['Arn']} is not a symmetric encryption key.")
