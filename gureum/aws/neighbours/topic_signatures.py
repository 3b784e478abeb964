"""How messages of SNS are signed: by one key of the home's. moto makes a key for each subscription and a certificate for each message, which it never
forgets; and after a restart the messages that wait in queues had other signatures.

The certificate's address is AWS's, which nothing here answers: nobody can check a signature. AWS: SNS, "Verifying the signatures of messages".
"""

from __future__ import annotations

import base64
import functools
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from moto.core.utils import iso_8601_datetime_with_milliseconds
from moto.moto_api._internal import mock_random
from moto.sns.models import Subscription

KEY_BITS = 2048
UNSUBSCRIBED = "2bcfbf39-05c3-41de-beaa-fcfcc21c8f55"
NAME = "signing key"


class SigningKey:
    """As a keeper (keepers.py), but of calls to any service, since buckets and rules tell topics, too: `NAME` → PKCS #8, with the first call that
    signed."""

    def __init__(self) -> None:
        self._key: rsa.RSAPrivateKey | None = None
        self._told = False
        setattr(Subscription, "get_post_data", functools.partialmethod(_notification, self))  # noqa: B010 - moto has no other way in

    def sign(self, text: str) -> bytes:
        if self._key is None:
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        return self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())

    def give(self, kept: dict[str, bytes]) -> None:
        if NAME in kept:
            key = load_der_private_key(kept[NAME], None)
            assert isinstance(key, rsa.RSAPrivateKey)
            self._key, self._told = key, True

    def take(self) -> dict[str, bytes]:
        if self._key is None or self._told:
            return {}
        self._told = True
        return {NAME: self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())}


def _notification(
    subscription: Any,
    signer: SigningKey,
    message: str,
    message_id: str,
    subject: str | None,
    message_attributes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What subscribers get. AWS: SNS, "HTTP/HTTPS notification JSON format"."""
    drawn = str(mock_random.uuid4()).replace("-", "")  # as moto does: what is drawn after it is in journals of before
    topic, stamp = subscription.topic, iso_8601_datetime_with_milliseconds()
    signed = {"Message": message, "MessageId": message_id, "Subject": subject, "Timestamp": stamp}
    lines = {**signed, "TopicArn": topic.arn, "Type": "Notification"}
    signature = signer.sign("".join(f"{name}\n{value}\n" for name, value in lines.items() if value))
    region = topic.sns_backend.region_name
    gone = f"arn:aws:sns:us-east-1:{subscription.account_id}:{topic.name}:{UNSUBSCRIBED}"
    return {
        **{name: value for name, value in lines.items() if value or name != "Subject"},
        **({"MessageAttributes": message_attributes} if message_attributes else {}),
        "SignatureVersion": "2",
        "Signature": base64.b64encode(signature).decode(),
        "SigningCertURL": f"https://sns.{region}.amazonaws.com/SimpleNotificationService-{drawn}.pem",
        "UnsubscribeURL": f"https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={gone}",
    }
