"""Service models: botocore's data files, read directly and kept small.

botocore itself is not imported (its loader costs 0.2 s and the documentation texts most of the memory); only the
packaged JSON is used. Shapes rest as compact bytes and are decoded when an operation that needs them is compiled.

    service_index()        one short record per service, from the head of each file; no shapes
    load_service("ec2")    operations and shapes of one service, cached
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import re
import zlib
from pathlib import Path
from typing import Any

import msgspec

from gureum.aws.errors import AwsError

HEAD_BYTES = 8192
TRAITS_OF_AWS: dict[tuple[str, str], dict[str, Any]] = {
    ("logs", "MetricNamespace"): {"pattern": "[^*$]*"},
    ("logs", "LogGroupIdentifier"): {"sensitive": True},
}
"""What AWS holds to where the model says another thing, by service and shape. CloudWatch's namespaces may have colons, and filters take them
(LocalStack's tests, validated against AWS); a refused identifier is not told again (moto's tests, verified on AWS)."""


class Member(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """A reference to a shape with the traits it has at this place."""

    shape: str
    location_name: str = ""
    query_name: str = ""
    location: str = ""
    flattened: bool = False
    xml_attribute: bool = False
    jsonvalue: bool = False
    eventpayload: bool = False
    xml_namespace: Any = None
    timestamp_format: str = ""
    result_wrapper: str = ""


class ErrorTrait(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """How a modelled error shows in HTTP; 0 and "": not stated."""

    code: str = ""
    http_status_code: int = 0


class Shape(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """A type with its traits, by botocore's names; documentation and client-side traits are dropped."""

    type: str
    members: dict[str, Member] = {}
    required: list[str] = []
    member: Member | None = None
    key: Member | None = None
    value: Member | None = None
    payload: str = ""
    location_name: str = ""
    flattened: bool = False
    timestamp_format: str = ""
    enum: list[str] = []
    min: float | None = None
    max: float | None = None
    pattern: str = ""
    document: bool = False
    sparse: bool = False
    eventstream: bool = False
    event: bool = False
    sensitive: bool = False
    exception: bool = False
    fault: bool = False
    error: ErrorTrait | None = None
    xml_namespace: Any = None


class Http(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Where an operation lives; RPC protocols all share one path."""

    method: str = "POST"
    request_uri: str = "/"
    response_code: int = 200


class Operation(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One operation: the shapes of its parameters and result."""

    name: str
    http: Http = Http()
    input: Member | None = None
    output: Member | None = None
    deprecated: bool = False


class Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`protocols`: the best first; `protocol` is what botocore's clients use by default."""

    api_version: str
    endpoint_prefix: str
    protocol: str
    protocols: list[str] = []
    json_version: str = "1.1"
    target_prefix: str = ""
    signing_name: str = ""
    xml_namespace: Any = None
    aws_query_compatible: Any = None


class _File(msgspec.Struct, gc=False):
    metadata: Metadata
    operations: dict[str, Operation]
    shapes: dict[str, Shape]


class ServiceModel:
    """One service. `operations`: by name. `shape(name)`: decoded on each call; compilers keep what they need."""

    def __init__(
        self, name: str, metadata: Metadata, operations: dict[str, Operation], shapes: dict[str, bytes]
    ) -> None:
        self.name = name
        self.metadata = metadata
        self.operations = operations
        self._shapes = shapes

    def shape(self, name: str) -> Shape:
        shape = _shape_decoder.decode(self._shapes[name])
        traits = TRAITS_OF_AWS.get((self.name, name))
        return msgspec.structs.replace(shape, **traits) if traits else shape

    @functools.cached_property
    def protocols(self) -> tuple[str, ...]:
        """All protocols it is served in."""
        return service_protocols(self.name, self.metadata)

    @functools.cached_property
    def xml_namespace(self) -> str:
        found = self.metadata.xml_namespace
        uri = found.get("uri", "") if isinstance(found, dict) else found or ""
        if uri:
            return str(uri) + "/" if self.metadata.protocol == "ec2" and not uri.endswith("/") else str(uri)
        return f"http://{self.metadata.endpoint_prefix}.amazonaws.com/doc/{self.metadata.api_version}/"

    def stream_member(self, shape_name: str) -> str:
        """The member of a result that is a stream of events, or ""."""
        members = self.shape(shape_name).members
        return next((name for name, member in members.items() if self.shape(member.shape).eventstream), "")

    def is_recursive(self, shape_name: str) -> bool:
        """Whether values of the shape may hold values of one shape within themselves: the model does not limit their
        depth."""
        return self._meets_itself(shape_name, set(), set())

    def _meets_itself(self, shape_name: str, above: set[str], done: set[str]) -> bool:
        if shape_name in above:
            return True
        if shape_name in done:
            return False
        shape = self.shape(shape_name)
        inner = [*shape.members.values(), *(one for one in (shape.member, shape.value) if one is not None)]
        above.add(shape_name)
        found = any(self._meets_itself(one.shape, above, done) for one in inner)
        above.discard(shape_name)
        done.add(shape_name)
        return found

    @functools.cached_property
    def errors_by_code(self) -> dict[str, str]:
        """Wire code or shape name → name of the modelled error shape."""
        found: dict[str, str] = {}
        names = [name for name, raw in self._shapes.items() if b'"exception":true' in raw]
        for name in names:
            trait = self.shape(name).error
            if trait is not None and trait.code:
                found.setdefault(trait.code, name)
        found.update((name, name) for name in names)
        return found


_shape_decoder = msgspec.json.Decoder(Shape)
_file_decoder = msgspec.json.Decoder(_File)
_encoder = msgspec.json.Encoder()


@functools.cache
def load_service(name: str) -> ServiceModel:
    """The newest version of service `name` ("ec2", "elbv2": botocore's names). Raises AwsError UnknownService. About 40
    ms for EC2."""
    path = _model_path(name)
    if path is None:
        raise AwsError("UnknownService", f"There is no service {name[:60]!r}.", status=404)
    file = _file_decoder.decode(gzip.decompress(path.read_bytes()))
    shapes = {shape_name: _encoder.encode(shape) for shape_name, shape in file.shapes.items()}
    # The key is the name that clients use; the name inside may carry a version (CloudFront).
    operations = {key: msgspec.structs.replace(one, name=key) for key, one in file.operations.items()}
    return ServiceModel(name, file.metadata, operations, shapes)


@functools.cache
def service_index() -> dict[str, Metadata]:
    """Every service's metadata by its name; reads only the head of each file (0.1 s for 440 services)."""
    found = {}
    for folder in sorted(_data_folder().iterdir()):
        path = _model_path(folder.name) if folder.is_dir() else None
        if path is not None:
            found[folder.name] = _read_metadata(path)
    return found


@functools.lru_cache(maxsize=2048)
def service_metadata(name: str) -> Metadata | None:
    """Metadata of one service without reading the others."""
    path = _model_path(name)
    return None if path is None else _read_metadata(path)


def service_protocols(name: str, metadata: Metadata) -> tuple[str, ...]:
    """The model's own list, the best first, plus query for those that AWS still answers in it."""
    found = tuple(metadata.protocols) or (metadata.protocol,)
    # SQS's model lists JSON only, but SDKs from before 2023 speak query to it and AWS goes on answering them.
    return (*found, "query") if name == "sqs" and "query" not in found else found


@functools.cache
def _data_folder() -> Path:
    spec = importlib.util.find_spec("botocore")
    if spec is None or spec.origin is None:
        raise RuntimeError("botocore, whose service models gureum reads, is not installed")
    return Path(spec.origin).parent / "data"


@functools.lru_cache(maxsize=2048)
def _model_path(name: str) -> Path | None:
    if re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,80}", name) is None:
        return None
    return max(_data_folder().glob(f"{name}/*/service-2.json.gz"), default=None)


def _read_metadata(path: Path) -> Metadata:
    with path.open("rb") as file:
        head = zlib.decompressobj(31).decompress(file.read(HEAD_BYTES), HEAD_BYTES)
    found = re.search(rb'"metadata"\s*:\s*(\{.*?\})\s*,\s*"(?:operations|shapes)"', head, re.DOTALL)
    if found is None:
        return _file_decoder.decode(gzip.decompress(path.read_bytes())).metadata
    return msgspec.json.decode(found[1], type=Metadata)
