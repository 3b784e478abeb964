"""What services say of credentials that are not right: each family has words of its own, by which programs tell that they must ask for others.

AWS: EC2 API error codes (AuthFailure, RequestExpired); S3, "Error responses"; "Common errors" of the services that speak JSON (DynamoDB, SSM …).
Those that spoke forms before (SQS, CloudWatch) kept their words, as has everybody who still does.
"""

from __future__ import annotations

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Target

_BY_FORMS_BEFORE = ("cloudwatch", "sqs")
_OF_EC2 = ("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
_EC2 = {
    "ExpiredToken": ("RequestExpired", "Request has expired.", 400),
    **dict.fromkeys(("SignatureDoesNotMatch", "InvalidClientTokenId", "MissingAuthenticationToken"), _OF_EC2),
}
_S3 = {
    "ExpiredToken": ("ExpiredToken", "The provided token has expired.", 400),
    "InvalidClientTokenId": (
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        403,
    ),
    "MissingAuthenticationToken": ("AccessDenied", "Access Denied", 403),
}
_JSON = {
    "ExpiredToken": "ExpiredTokenException",
    "IncompleteSignature": "IncompleteSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
}


def in_words_of(target: Target, error: AwsError) -> AwsError:
    """`error`: as `identify_caller` raises it."""
    if target.service in ("ec2", "s3"):
        said = (_EC2 if target.service == "ec2" else _S3).get(error.code)
        return error if said is None else AwsError(said[0], said[1], status=said[2])
    if target.protocol != "json" or target.service in _BY_FORMS_BEFORE or error.code not in _JSON:
        return error
    return AwsError(_JSON[error.code], error.message, status=400)
