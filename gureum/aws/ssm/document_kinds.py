"""The stored shape of documents, and how a name leads to one: the account's own, one shared by another account (by ARN), or one of AWS's.

Document ◄── owner ── DocumentVersion, one per version: the text as it was given
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.ssm.builtin_documents import BUILTINS
from gureum.aws.ssm.document_content import read
from gureum.engine.resource import Resource, kind

_ARN = re.compile(r"arn:aws[a-z-]*:ssm:([a-z0-9-]*):(\d{12})?:document/([a-zA-Z0-9_.-]{3,128})")


class DocumentSpec(msgspec.Struct, frozen=True):
    """`shared`: account ids, or "all". `shared_versions`: which versions each may use, "$DEFAULT" (also of those who are not there), "$LATEST" or
    "$ALL". `names`: version names, to their numbers."""

    name: str
    type: str
    latest: int = 1
    default: int = 1
    target_type: str = ""
    display_name: str = ""
    shared: tuple[str, ...] = ()
    shared_versions: dict[str, str] = {}
    names: dict[str, int] = {}
    numbers: tuple[int, ...] = (1,)


@kind("ssm.Document")
class Document(Resource, frozen=True):
    spec: DocumentSpec


class VersionSpec(msgspec.Struct, frozen=True):
    """`form`: JSON or YAML."""

    document: str
    number: int
    text: str
    form: str
    created: float
    name: str = ""


@kind("ssm.DocumentVersion", indexes={"document": lambda one: one.spec.document})
class DocumentVersion(Resource, frozen=True):
    spec: VersionSpec


class Found(msgspec.Struct, frozen=True):
    """A document as an operation uses it. `document` and `version` are None for AWS's own, which have the version 1."""

    name: str
    type: str
    number: int
    content: dict[str, Any]
    document: Document | None = None
    version: DocumentVersion | None = None


def version_key(document: str, number: int) -> str:
    return f"{document}:{number}"


def find_document(call: Call, text: str) -> Document | None:
    """The stored document that a name or an ARN means, of another account only when that shares it."""
    arn = _ARN.fullmatch(text)
    if arn is None:
        return call.get(Document, text)
    region, account, name = arn[1], arn[2] or "", arn[3]
    found = call.client.get(Document, f"{account}/{region}", name)
    if region != call.region or found is None:
        return None
    shared = account == call.account or call.account in found.spec.shared or "all" in found.spec.shared
    return found if shared else None


def find(call: Call, text: str, version: str = "") -> Found:
    """AWS: InvalidDocument, InvalidDocumentVersion. `version`: a number, $DEFAULT, $LATEST, or ""."""
    document = find_document(call, text)
    if document is None:
        name = text.rpartition("/")[2] if text.startswith("arn:") else text
        if name not in BUILTINS:
            raise missing(text)
        if version not in ("", "$DEFAULT", "$LATEST", "1"):
            raise bad_version(version)
        kind_, content = BUILTINS[name]
        return Found(name, kind_, 1, content)
    number = _shared_number(call, document, version)
    found = call.client.get(DocumentVersion, document.meta.scope, version_key(document.meta.name, number))
    if found is None:
        raise bad_version(version)
    try:
        content = read(found.spec.text, found.spec.form)
    except AwsError:  # a home of before took more; it can be listed and deleted, and has nothing to run
        content = {"schemaVersion": ""}
    return Found(document.spec.name, document.spec.type, number, content, document, found)


def hash_of(found: Found, kind_: str) -> str:
    """Of the text as it was given: `sha256` or `sha1`, in hexadecimal."""
    text = found.version.spec.text if found.version is not None else json.dumps(found.content)
    return hashlib.new(kind_, text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def shared_version(document: Document, account: str) -> str:
    """AWS: "if it isn't specified, the system chooses the Default version to share"."""
    return document.spec.shared_versions.get(account, "$DEFAULT")


def _shared_number(call: Call, document: Document, version: str) -> int:
    """Of what another account shares, only the version that it shares."""
    spec = document.spec
    if document.meta.scope.partition("/")[0] == call.account:
        return number_of(document, version)
    allowed = shared_version(document, call.account if call.account in spec.shared else "all")
    number = number_of(document, version or allowed.replace("$ALL", ""))
    if allowed != "$ALL" and number != number_of(document, allowed):
        raise bad_version(version)
    return number


def number_of(document: Document, version: str) -> int:
    if version in ("", "$DEFAULT"):
        return document.spec.default
    if version == "$LATEST":
        return document.spec.latest
    if not re.fullmatch(r"[0-9]{1,9}", version) or int(version) not in document.spec.numbers:
        raise bad_version(version)
    return int(version)


def missing(name: str) -> AwsError:
    return AwsError("InvalidDocument", f"Document with name {name} does not exist.")


def bad_version(version: str) -> AwsError:
    text = f"The document version {version} is not valid or does not exist."
    return AwsError("InvalidDocumentVersion", text)
