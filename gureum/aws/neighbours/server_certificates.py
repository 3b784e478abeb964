"""Server certificates of IAM as AWS keeps them: with an id and dates of their own, a name that only one has and that can be changed, and tags. moto
tells one id and one date for all of them, takes a name twice, and neither renames nor tags.

Their private keys, which IAM tells nobody, are told to load balancers by `find`.

AWS: IAM UploadServerCertificate, GetServerCertificate, ListServerCertificates, UpdateServerCertificate, TagServerCertificate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography import x509
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.iam.exceptions import EntityAlreadyExists, LimitExceededException, TooManyTags
from moto.iam.models import Certificate, IAMBackend
from moto.iam.responses import IamResponse

LIMIT_CERTIFICATES = 20
"""AWS: "IAM and STS quotas", server certificates stored in an account."""
LIMIT_TAGS = 50
DEFAULT_MAX_ITEMS = 100
_PREFIX, _DRAWN = "ASCA", 17
_LETTERS = str.maketrans("0189", "WXYZ")
_UPLOAD = IAMBackend.upload_server_certificate


def lead(wanted: Callable[[], bool]) -> None:
    """`wanted`: whether names are looked at; no for calls of journals of before. Idempotent."""

    def upload(backend: Any, cert_name: str, *given: Any, **named: Any) -> Any:
        if wanted():
            _check_name(backend, cert_name)
            if len(backend.certificates) >= LIMIT_CERTIFICATES:
                text = f"Cannot exceed quota for ServerCertificatesPerAccount: {LIMIT_CERTIFICATES}"
                raise LimitExceededException(text)
        made: Any = _UPLOAD(backend, cert_name, *given, **named)
        made.uploaded = utcnow()
        made.tags = {}
        return made

    setattr(IAMBackend, "upload_server_certificate", upload)  # noqa: B010 - moto has no other way in
    install()


def install() -> None:
    """The operations. Idempotent."""
    for answer in (_upload, _get, _update, _tag, _untag):
        setattr(IamResponse, f"{answer.__name__[1:]}_server_certificate", answer)
    setattr(IamResponse, "list_server_certificates", _list)  # noqa: B010
    setattr(IamResponse, "list_server_certificate_tags", _list_tags)  # noqa: B010


def find(backend: Any, *, arn: str = "", name: str = "") -> dict[str, str] | None:
    """The certificate with this ARN, or of this name: "Id", "Arn", "Body", "Chain" and "Key", in PEM as they were uploaded; None when there is
    none."""
    for one in backend.certificates.values():
        if one.arn == arn or one.cert_name == name:
            texts = {"Body": one.cert_body, "Chain": one.cert_chain or "", "Key": one.private_key}
            return {"Id": _id(backend, one), "Arn": one.arn, **texts}
    return None


def _upload(response: Any) -> Any:
    tags = response._get_param("Tags") or []
    response.backend._tag_verification(tags)
    given = [response._get_param(name) for name in ("ServerCertificateName", "CertificateBody", "PrivateKey")]
    more = {"cert_chain": response._get_param("CertificateChain"), "path": response._get_param("Path")}
    made = response.backend.upload_server_certificate(*given, **more)
    made.tags = _texts(tags)
    shown = {"ServerCertificateMetadata": _metadata(response.backend, made)}
    return ActionResult(shown | ({"Tags": _shown(made)} if made.tags else {}))


def _get(response: Any) -> Any:
    found = _named(response)
    shown = {"ServerCertificateMetadata": _metadata(response.backend, found), "CertificateBody": found.cert_body}
    if found.cert_chain:
        shown["CertificateChain"] = found.cert_chain
    return ActionResult({"ServerCertificate": {**shown, "Tags": _shown(found)}})


def _list(response: Any) -> Any:
    prefix = response._get_param("PathPrefix") or "/"
    found = [one for one in response.backend.list_server_certificates() if one.path.startswith(prefix)]
    shown, more = _page(response, sorted(found, key=lambda one: str(one.cert_name)))
    return ActionResult({"ServerCertificateMetadataList": [_metadata(response.backend, one) for one in shown], **more})


def _update(response: Any) -> Any:
    found = _named(response)
    name, path = response._get_param("NewServerCertificateName"), response._get_param("NewPath")
    if name and name != found.cert_name:
        _check_name(response.backend, name)
        found.cert_name = name
    found.path = path or found.path
    return EmptyResult()


def _tag(response: Any) -> Any:
    found, tags = _named(response), response._get_param("Tags") or []
    response.backend._tag_verification(tags)
    after = _tags(found) | _texts(tags)
    if len(after) > LIMIT_TAGS:
        raise TooManyTags(tags)
    found.tags = after
    return EmptyResult()


def _untag(response: Any) -> Any:
    found, keys = _named(response), response._get_param("TagKeys") or []
    found.tags = {key: value for key, value in _tags(found).items() if key not in keys}
    return EmptyResult()


def _list_tags(response: Any) -> Any:
    shown, more = _page(response, _shown(_named(response)))
    return ActionResult({"Tags": shown, **more})


def _named(response: Any) -> Any:
    return response.backend.get_server_certificate(response._get_param("ServerCertificateName"))


def _check_name(backend: Any, name: str) -> None:
    """AWS: EntityAlreadyExists. Names are the account's, whatever their paths."""
    if any(one.cert_name == name for one in backend.certificates.values()):
        raise EntityAlreadyExists(f"The Server Certificate with name {name} already exists.")


def _page(response: Any, rows: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    marker, most = response._get_param("Marker"), int(response._get_param("MaxItems") or DEFAULT_MAX_ITEMS)
    begin = int(marker) if marker and str(marker).isdecimal() else 0
    end = begin + most
    return rows[begin:end], {"IsTruncated": True, "Marker": str(end)} if end < len(rows) else {"IsTruncated": False}


def _metadata(backend: Any, one: Certificate) -> dict[str, Any]:
    shown = {
        "ServerCertificateName": one.cert_name,
        "Path": one.path,
        "Arn": one.arn,
        "ServerCertificateId": _id(backend, one),
        "UploadDate": getattr(one, "uploaded", None),
        "Expiration": _expiration(one.cert_body),
    }
    return {name: value for name, value in shown.items() if value is not None}


def _id(backend: Any, one: Certificate) -> str:
    """Made of that by which moto keeps it, so that nothing more is drawn."""
    key = next(key for key, value in backend.certificates.items() if value is one)
    return _PREFIX + str(key).upper().translate(_LETTERS)[-_DRAWN:]


def _expiration(body: str) -> Any:
    """None for what is no certificate: before they were looked at, all was taken."""
    try:
        return x509.load_pem_x509_certificate(body.encode()).not_valid_after_utc.replace(tzinfo=None)
    except ValueError:
        return None


def _tags(one: Any) -> dict[str, str]:
    return dict(getattr(one, "tags", {}))


def _texts(tags: list[dict[str, str]]) -> dict[str, str]:
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in tags}


def _shown(one: Any) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(_tags(one).items())]
