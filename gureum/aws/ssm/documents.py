"""Documents: CreateDocument and what follows; Command and Session documents in JSON and YAML, with versions."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import yaml

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.ssm.builtin_documents import BUILTINS
from gureum.aws.ssm.document_content import check, parameters_of, read
from gureum.aws.ssm.document_kinds import (
    Document,
    DocumentSpec,
    DocumentVersion,
    Found,
    VersionSpec,
    bad_version,
    find,
    hash_of,
    missing,
    number_of,
    shared_version,
    version_key,
)
from gureum.aws.ssm.paging import page
from gureum.aws.ssm.sessions import read_preferences

LIMIT_DOCUMENTS, LIMIT_VERSIONS, LIMIT_SHARED = 500, 1000, 1000
RESERVED = re.compile(r"(aws|amazon|amzn)", re.IGNORECASE)
PLATFORMS = ("Linux", "MacOS")
BUILTIN_CREATED = 1_500_000_000.0


@operation("CreateDocument")
async def create_document(call: Call) -> Result:
    """AWS: ssm CreateDocument. DocumentAlreadyExists, DocumentLimitExceeded, InvalidDocumentContent, InvalidDocumentSchemaVersion."""
    params = call.params
    name, kind = params["Name"], params.get("DocumentType", "Command")
    if RESERVED.match(name):
        text = f"The document name {name} is not valid: names that begin with aws, amazon or amzn are reserved."
        raise AwsError("ValidationException", text)
    if call.get(Document, name) is not None:
        raise AwsError("DocumentAlreadyExists", f"Document with same name {name} already exists")
    if len(call.all(Document)) >= LIMIT_DOCUMENTS:
        raise AwsError("DocumentLimitExceeded", f"You can have at most {LIMIT_DOCUMENTS} documents.")
    _refuse(params, "Attachments", "Requires")
    form = params.get("DocumentFormat", "JSON")
    _checked(params["Content"], form, kind)
    names = {params["VersionName"]: 1} if params.get("VersionName") else {}
    spec = DocumentSpec(
        name, kind, target_type=params.get("TargetType", ""), display_name=params.get("DisplayName", ""), names=names
    )
    tags = {one["Key"]: one["Value"] for one in params.get("Tags") or ()}
    document = Document(meta=call.meta(name, tags=tags), spec=spec)
    version = VersionSpec(name, 1, params["Content"], form, call.now, params.get("VersionName", ""))
    transaction = call.transaction()
    transaction.create(document)
    made = DocumentVersion(meta=call.meta(version_key(name, 1), owner=document), spec=version)
    transaction.create(made)
    await call.commit(transaction)
    return {"DocumentDescription": _describe(call, find(call, name))}


def _refuse(params: dict[str, Any], *names: str) -> None:
    for name in names:
        if params.get(name):
            raise AwsError("NotImplemented", f"The parameter {name} is not implemented by gureum.", status=501)


def _checked(text: str, form: str, kind: str) -> None:
    if kind not in ("Command", "Session"):
        raise AwsError("NotImplemented", f"Documents of type {kind} are not implemented by gureum.", status=501)
    if form not in ("JSON", "YAML"):
        raise AwsError("NotImplemented", f"Documents in {form} are not implemented by gureum.", status=501)
    content = read(text, form)
    check(content, kind)
    if kind == "Session" and isinstance(content.get("inputs"), dict):
        read_preferences(content["inputs"])


@operation("UpdateDocument")
async def update_document(call: Call) -> Result:
    """AWS: ssm UpdateDocument: a new version; the default stays. DuplicateDocumentContent (unless the target type changes),
    DuplicateDocumentVersionName, InvalidDocumentVersion (of an old version), InvalidDocumentSchemaVersion (of schema 1.2)."""
    params = call.params
    document = _own(call, params["Name"])
    _refuse(params, "Attachments")
    spec = document.spec
    based_on = find(call, spec.name, params.get("DocumentVersion", "$LATEST"))
    if based_on.number not in (spec.latest, spec.default):
        raise bad_version(params["DocumentVersion"])
    form = params.get("DocumentFormat", "JSON")
    if str(based_on.content.get("schemaVersion")) == "1.2":
        raise AwsError("InvalidDocumentSchemaVersion", "Documents of schema version 1.2 cannot be updated.")
    _checked(params["Content"], form, spec.type)
    if len(spec.numbers) >= LIMIT_VERSIONS:
        raise AwsError("DocumentVersionLimitExceeded", f"A document has at most {LIMIT_VERSIONS} versions.")
    version_name = params.get("VersionName", "")
    if version_name and version_name in spec.names:
        raise AwsError("DuplicateDocumentVersionName", f"The version name {version_name} is used already.")
    more = {
        "target_type": params.get("TargetType", spec.target_type),
        "display_name": params.get("DisplayName", spec.display_name),
    }
    same = all(getattr(spec, key) == value for key, value in more.items())
    if same and based_on.version is not None and based_on.version.spec.text == params["Content"]:
        raise AwsError("DuplicateDocumentContent", "Document content is the same as that of another version.")
    number = spec.latest + 1
    names = {**spec.names, **({version_name: number} if version_name else {})}
    changed = msgspec.structs.replace(spec, latest=number, numbers=(*spec.numbers, number), names=names, **more)
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(document, spec=changed))
    version = VersionSpec(spec.name, number, params["Content"], form, call.now, version_name)
    made = DocumentVersion(meta=call.meta(version_key(spec.name, number), owner=document), spec=version)
    transaction.create(made)
    await call.commit(transaction)
    return {"DocumentDescription": _describe(call, find(call, spec.name, "$LATEST"))}


@operation("UpdateDocumentDefaultVersion")
async def update_document_default_version(call: Call) -> Result:
    """AWS: ssm UpdateDocumentDefaultVersion."""
    document = _own(call, call.params["Name"])
    number = number_of(document, call.params["DocumentVersion"])
    transaction = call.transaction()
    spec = msgspec.structs.replace(document.spec, default=number)
    transaction.update(msgspec.structs.replace(document, spec=spec))
    await call.commit(transaction)
    shown = {"Name": document.spec.name, "DefaultVersion": str(number)}
    names = [name for name, at in spec.names.items() if at == number]
    return {"Description": shown | ({"DefaultVersionName": names[0]} if names else {})}


@operation("DeleteDocument")
async def delete_document(call: Call) -> Result:
    """AWS: ssm DeleteDocument: all of it, or one version that is not the default."""
    document = _own(call, call.params["Name"])
    version = call.params.get("DocumentVersion") or ""
    if call.params.get("VersionName"):
        version = str(document.spec.names.get(call.params["VersionName"], 0))
    transaction = call.transaction()
    if not version or version == "$ALL":
        if document.spec.shared:
            text = f"The document {document.spec.name} is shared; stop sharing it before it is deleted."
            raise AwsError("InvalidDocumentOperation", text)
        transaction.delete(document)
        for one in call.by(DocumentVersion, "document", document.spec.name)[:1000]:
            transaction.delete(one)
    else:
        number = number_of(document, version)
        if number == document.spec.default:
            raise AwsError("InvalidDocumentOperation", "The default version of a document cannot be deleted.")
        found = call.get(DocumentVersion, version_key(document.spec.name, number))
        if found is None:
            raise bad_version(version)
        numbers = tuple(one for one in document.spec.numbers if one != number)
        names = {name: at for name, at in document.spec.names.items() if at != number}
        spec = msgspec.structs.replace(document.spec, numbers=numbers, names=names, latest=max(numbers))
        transaction.update(msgspec.structs.replace(document, spec=spec))
        transaction.delete(found)
    await call.commit(transaction)
    return {}


@operation("DescribeDocument")
def describe_document(call: Call) -> Result:
    """AWS: ssm DescribeDocument."""
    return {"Document": _describe(call, _chosen(call))}


@operation("GetDocument")
def get_document(call: Call) -> Result:
    """AWS: ssm GetDocument. `DocumentFormat` asks for the same in another form."""
    found = _chosen(call)
    own = found.version.spec.form if found.version is not None else "JSON"
    form = call.params.get("DocumentFormat") or own
    if found.version is not None and form == own:
        text = found.version.spec.text
    elif form == "YAML":
        text = yaml.safe_dump(found.content, sort_keys=False)
    else:
        text = json.dumps(found.content, indent=2)
    shown: Result = {
        "Name": found.name,
        "DocumentVersion": str(found.number),
        "Status": "Active",
        "Content": text,
        "DocumentType": found.type,
        "DocumentFormat": form,
        "CreatedDate": found.version.spec.created if found.version is not None else BUILTIN_CREATED,
    }
    return shown | ({"VersionName": found.version.spec.name} if found.version and found.version.spec.name else {})


@operation("ListDocumentVersions")
def list_document_versions(call: Call) -> Result:
    """AWS: ssm ListDocumentVersions. Newest first."""
    name = call.params["Name"]
    document = call.get(Document, name)
    if document is None:
        found = find(call, name)
        return {"DocumentVersions": [_show_version(found, default=True)]}
    versions = call.by(DocumentVersion, "document", name)
    shown, token = page(
        call.params,
        versions,
        lambda one: f"{LIMIT_VERSIONS * 1000 - one.spec.number:09d}",
        least=1,
        most=50,
        default=50,
    )
    rows = [
        _show_version(find(call, name, str(one.spec.number)), default=one.spec.number == document.spec.default)
        for one in shown
    ]
    return {"DocumentVersions": rows} | ({"NextToken": token} if token else {})


def _show_version(found: Found, *, default: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Name": found.name,
        "DocumentVersion": str(found.number),
        "CreatedDate": found.version.spec.created if found.version is not None else BUILTIN_CREATED,
        "IsDefaultVersion": default,
        "DocumentFormat": found.version.spec.form if found.version is not None else "JSON",
        "Status": "Active",
    }
    return shown | ({"VersionName": found.version.spec.name} if found.version and found.version.spec.name else {})


@operation("ListDocuments")
def list_documents(call: Call) -> Result:
    """AWS: ssm ListDocuments. Without an owner: the account's own and AWS's."""
    names = [*(one.spec.name for one in call.all(Document)), *BUILTINS]
    found = [find(call, name) for name in names]
    filters = [(one["key"], [one["value"]]) for one in call.params.get("DocumentFilterList") or ()]
    filters += [(one["Key"], one.get("Values") or []) for one in call.params.get("Filters") or ()]
    for key, values in filters:
        found = [one for one in found if _passes(one, key, values)]
    shown, token = page(call.params, found, lambda one: one.name, least=1, most=50, default=50)
    rows = [_identify(call, one) for one in shown]
    return {"DocumentIdentifiers": rows} | ({"NextToken": token} if token else {})


def _passes(found: Found, key: str, values: list[str]) -> bool:
    if key.startswith("tag:"):
        return found.document is not None and found.document.meta.tags.get(key[4:]) in values
    if key == "Owner":
        owners = ("All", "Self", "Private") if found.document is not None else ("All", "Amazon", "Public")
        return any(one in owners for one in values)
    if key == "PlatformTypes":
        return any(one in PLATFORMS for one in values)
    if key == "SearchKeyword":
        told = f"{found.name}\n{found.content.get('description', '')}".lower()
        return all(one.lower() in told for one in values)
    looks = {
        "Name": found.name,
        "DocumentType": found.type,
        "TargetType": _target_type(found),
    }
    if key not in looks:
        raise AwsError("InvalidFilterKey", f"The filter key {key} is not valid.")
    if key == "Name":
        return any(found.name.startswith(one) for one in values)
    return looks[key] in values


@operation("DescribeDocumentPermission")
def describe_document_permission(call: Call) -> Result:
    """AWS: ssm DescribeDocumentPermission: accounts in their order."""
    document = _own(call, call.params["Name"])
    accounts, token = page(call.params, document.spec.shared, str, least=1, most=200, default=200)
    shares = [{"AccountId": one, "SharedDocumentVersion": shared_version(document, one)} for one in accounts]
    return {"AccountIds": accounts, "AccountSharingInfoList": shares} | ({"NextToken": token} if token else {})


@operation("ModifyDocumentPermission")
async def modify_document_permission(call: Call) -> Result:
    """AWS: ssm ModifyDocumentPermission: which accounts, or "all", may use it, and of which version. DocumentPermissionLimit."""
    params = call.params
    document = _own(call, params["Name"])
    add, remove = (
        [one.lower() for one in params.get(name) or ()] for name in ("AccountIdsToAdd", "AccountIdsToRemove")
    )
    if any("all" in given and len(given) > 1 for given in (add, remove)):
        raise AwsError("DocumentPermissionLimit", "Accounts can either be all or a group of AWS accounts")
    spec, version = document.spec, params.get("SharedDocumentVersion") or "$DEFAULT"
    shared = tuple(dict.fromkeys([*(one for one in spec.shared if one not in remove), *add]))
    if len(shared) > LIMIT_SHARED:
        raise AwsError("DocumentPermissionLimit", f"A document can be shared with at most {LIMIT_SHARED} accounts.")
    versions = spec.shared_versions | dict.fromkeys(add, version)
    versions = {account: number for account, number in versions.items() if account in shared}
    transaction = call.transaction()
    spec = msgspec.structs.replace(spec, shared=shared, shared_versions=versions)
    transaction.update(msgspec.structs.replace(document, spec=spec))
    await call.commit(transaction)
    return {}


def _own(call: Call, name: str) -> Document:
    """AWS: InvalidDocument; AWS's own documents cannot be changed."""
    found = call.get(Document, name)
    if found is None:
        if name in BUILTINS:
            raise AwsError("InvalidDocumentOperation", f"The document {name} is owned by Amazon.")
        raise missing(name)
    return found


def _chosen(call: Call) -> Found:
    params = call.params
    if params.get("VersionName"):
        document = find(call, params["Name"]).document
        number = document.spec.names.get(params["VersionName"]) if document is not None else None
        if number is None or params.get("DocumentVersion", str(number)) not in (str(number), ""):
            raise bad_version(params["VersionName"])
        return find(call, params["Name"], str(number))
    return find(call, params["Name"], params.get("DocumentVersion", ""))


def _target_type(found: Found) -> str:
    return found.document.spec.target_type if found.document is not None else ""


def _identify(call: Call, found: Found) -> dict[str, Any]:
    """API form. AWS: ssm DocumentIdentifier. What another account shares is named by its ARN, and without its tags."""
    owner = found.document.meta.scope.partition("/")[0] if found.document is not None else "Amazon"
    is_own = owner == call.account
    shown: dict[str, Any] = {
        "Name": found.name if found.document is None or is_own else _arn(call, owner, found.name),
        "Owner": owner,
        "PlatformTypes": list(PLATFORMS),
        "DocumentVersion": str(found.number),
        "DocumentType": found.type,
        "SchemaVersion": str(found.content["schemaVersion"]),
        "DocumentFormat": found.version.spec.form if found.version is not None else "JSON",
        "Tags": [],
        "CreatedDate": found.document.meta.created if found.document is not None else BUILTIN_CREATED,
    }
    if found.document is not None and is_own:
        shown["Tags"] = [{"Key": key, "Value": value} for key, value in found.document.meta.tags.items()]
    optional = {
        "TargetType": _target_type(found),
        "VersionName": found.version.spec.name if found.version is not None else "",
        "DisplayName": found.document.spec.display_name if found.document is not None else "",
    }
    return shown | {key: value for key, value in optional.items() if value}


def _describe(call: Call, found: Found) -> dict[str, Any]:
    """API form. AWS: ssm DocumentDescription."""
    document = found.document
    return _identify(call, found) | {
        "Hash": hash_of(found, "sha256"),
        "HashType": "Sha256",
        "Status": "Active",
        "Description": str(found.content.get("description", "")),
        "Parameters": [_show_parameter(*one) for one in parameters_of(found.content).items()],
        "LatestVersion": str(document.spec.latest if document is not None else 1),
        "DefaultVersion": str(document.spec.default if document is not None else 1),
    }


def _arn(call: Call, owner: str, name: str) -> str:
    return f"arn:{call.partition}:ssm:{call.region}:{owner}:document/{name}"


def _show_parameter(name: str, one: dict[str, Any]) -> dict[str, Any]:
    shown = {
        "Name": name,
        "Type": "StringList" if one["type"] == "StringList" else "String",
        "Description": str(one.get("description", "")),
    }
    default = one.get("default")
    if default is not None:
        shown["DefaultValue"] = default if isinstance(default, str) else json.dumps(default)
    return shown
