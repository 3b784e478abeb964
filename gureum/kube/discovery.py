"""What the API says of itself: groups, versions, kinds (plain and aggregated), its version, and OpenAPI documents.

Made when they are first asked for, kept until the kinds change; with an ETag, since clients keep them on disk.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from typing import Any

import msgspec

from gureum.kube.errors import no_such_path
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.kind import Kind
from gureum.kube.openapi.binary import CONTENT_TYPE, document
from gureum.kube.openapi.documents import Described, index3, version2, version3
from gureum.kube.requests import JSON, Request, Response

MINOR = 34
GIT_VERSION = f"v1.{MINOR}.0"
AGGREGATED = f"{JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
AGGREGATED_BETA = f"{JSON};g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
_encode = msgspec.json.encode


class Discovery:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._made: dict[str, tuple[bytes, str]] = {}
        self._version = -1

    def answer(self, request: Request) -> Response | None:
        """None when the path is none of these."""
        path = request.path.rstrip("/") or "/"
        if path in ("/api", "/apis"):
            form = aggregated_form(request.headers.get("accept", ""))
            if form:
                name = f"{path} {form}"
                return self._document(request, name, lambda: self._aggregated(path, form), form)
            return self._document(request, path, lambda: self._versions() if path == "/api" else self._groups())
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) == 2:
            return self._document(request, path, lambda: self._resources("", parts[1]))
        if parts[0] == "apis" and len(parts) == 2:
            return self._document(request, path, lambda: self._group(parts[1]))
        if parts[0] == "apis" and len(parts) == 3:
            return self._document(request, path, lambda: self._resources(parts[1], parts[2]))
        if parts[0] == "openapi":
            return self._openapi(request, parts[1:])
        if path == "/version":
            return Response(200, _encode(version_info()))
        return None

    def _document(self, request: Request, name: str, make: Callable[[], Any], content_type: str = JSON) -> Response:
        body, tag = self._kept(name, make)
        headers = {"etag": f'"{tag}"', "vary": "Accept", "cache-control": "public"}
        if request.headers.get("if-none-match", "").strip().strip('"') == tag:
            return Response(304, b"", content_type, headers)
        return Response(200, body, content_type, headers)

    def _kept(self, name: str, make: Callable[[], Any]) -> tuple[bytes, str]:
        if self._version != self._catalog.version:
            self._made.clear()
            self._version = self._catalog.version
        if name not in self._made:
            body = _encode(make())
            self._made[name] = body, hashlib.sha512(body).hexdigest().upper()
        return self._made[name]

    # Plain

    def _versions(self) -> Any:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}

    def _groups(self) -> Any:
        groups = [_group(name, versions) for name, versions in self._catalog.groups()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _group(self, name: str) -> Any:
        versions = dict(self._catalog.groups()).get(name)
        if versions is None:
            raise no_such_path()
        return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, versions)

    def _resources(self, group: str, version: str) -> Any:
        kinds = self._catalog.of_version(group, version)
        if not kinds:
            raise no_such_path()
        resources = [one for kind in kinds for one in _plain_resources(kind)]
        name = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}

    # Aggregated

    def _aggregated(self, path: str, form: str) -> Any:
        groups = [("", ["v1"])] if path == "/api" else self._catalog.groups()
        items = [
            {
                "metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
                "versions": [
                    {
                        "version": version,
                        "resources": [_aggregated_resource(kind) for kind in self._catalog.of_version(name, version)],
                        "freshness": "Current",
                    }
                    for version in versions
                ],
            }
            for name, versions in groups
        ]
        version = "v2beta1" if "v2beta1" in form else "v2"
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }

    # OpenAPI

    def _openapi(self, request: Request, parts: list[str]) -> Response:
        if parts == ["v2"]:
            if CONTENT_TYPE in request.headers.get("accept", "").replace("@", "."):
                return self._binary(request)
            return self._document(request, "openapi/v2", lambda: version2(self._described(), GIT_VERSION))
        if parts == ["v3"]:
            return self._document(request, "openapi/v3", self._index)
        if parts[:1] == ["v3"]:
            group, version = _group_version(parts[1:])
            if not self._catalog.of_version(group, version):
                raise no_such_path()
            return self._document(request, "/".join(parts), lambda: self._version3(group, version))
        raise no_such_path()

    def _binary(self, request: Request) -> Response:
        """The document as protobuf. What JSON cannot carry is kept as text."""

        def make() -> str:
            return document(version2(self._described(), GIT_VERSION)).decode("latin-1")

        response = self._document(request, "openapi/v2 binary", make, CONTENT_TYPE)
        if response.body:
            assert isinstance(response.body, bytes)
            response.body = msgspec.json.decode(response.body, type=str).encode("latin-1")
        return response

    def _version3(self, group: str, version: str) -> Any:
        return version3(self._described(group, version), GIT_VERSION)

    def _index(self) -> Any:
        """The hash is of what the document is made from, so that the index needs none of them."""
        roots = [("api/v1", "", "v1")] + [
            (f"apis/{name}/{version}", name, version)
            for name, versions in self._catalog.groups()
            for version in versions
        ]
        found = []
        for path, group, version in roots:
            source = (
                _encode([msgspec.to_builtins(one) for one in self._described(group, version)]) + GIT_VERSION.encode()
            )
            found.append((path, hashlib.sha256(source).hexdigest()[:32].upper()))
        return index3(found)

    def _described(self, group: str | None = None, version: str = "") -> list[Described]:
        kinds = self._catalog.all() if group is None else self._catalog.of_version(group, version)
        return [
            Described(
                kind.group,
                kind.version,
                kind.kind,
                kind.plural,
                kind.namespaced,
                kind.verbs,
                tuple(one.name for one in kind.subresources),
                kind.custom.open_schema if kind.custom is not None else None,
            )
            for kind in kinds
        ]


def aggregated_form(accept: str) -> str:
    """The content type of the aggregated document that a client takes; "" when it wants the plain one."""
    for part in accept.split(","):
        words = {word.strip() for word in part.split(";")}
        if "as=APIGroupDiscoveryList" in words and "g=apidiscovery.k8s.io" in words and JSON in words:
            if "v=v2" in words:
                return AGGREGATED
            if "v=v2beta1" in words:
                return AGGREGATED_BETA
        elif part.strip().startswith((JSON, "*/*")):
            return ""
    return ""


def version_info() -> dict[str, str]:
    """Of GET /version. The Kubernetes version whose API this is."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": "1",
        "minor": str(MINOR),
        "emulationMajor": "1",
        "emulationMinor": str(MINOR),
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": str(MINOR - 1),
        "gitVersion": f"{GIT_VERSION}+gureum",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2025-08-27T00:00:00Z",
        "goVersion": "none",
        "compiler": "cpython",
        "platform": f"linux/{machine}",
    }


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _group_version(parts: list[str]) -> tuple[str, str]:
    if parts[:1] == ["api"] and len(parts) == 2:
        return "", parts[1]
    if parts[:1] == ["apis"] and len(parts) == 3:
        return parts[1], parts[2]
    raise no_such_path()


def _plain_resources(kind: Kind) -> list[dict[str, Any]]:
    own: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        own["shortNames"] = list(kind.short_names)
    if kind.categories:
        own["categories"] = list(kind.categories)
    if "list" in kind.verbs:
        own["storageVersionHash"] = hashlib.sha256(kind.storage.encode()).hexdigest()[:11] + "="
    found = [own]
    for one in kind.subresources:
        entry: dict[str, Any] = {"name": f"{kind.plural}/{one.name}", "singularName": "", "namespaced": kind.namespaced}
        if one.version:
            entry |= {"group": one.group, "version": one.version}
        found.append(entry | {"kind": one.kind, "verbs": list(one.verbs)})
    return found


def _aggregated_resource(kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.subresources:
        found["subresources"] = [
            {
                "subresource": one.name,
                "responseKind": {
                    "group": one.group if one.version else kind.group,
                    "version": one.version or kind.version,
                    "kind": one.kind,
                },
                "verbs": list(one.verbs),
            }
            for one in kind.subresources
        ]
    return found
