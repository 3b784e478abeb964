"""Bodies of requests: read from JSON, YAML or protobuf, and brought into the shape of their kind.

What the schema does not know is taken out, and told or refused as the client wishes (fieldValidation); what has another type than the schema says
is refused with the words of the original's decoder.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from gureum.base.hostile_yaml import HostileYaml
from gureum.base.hostile_yaml import load as load_yaml
from gureum.kube.errors import StatusError, bad_request, shown, unsupported_media
from gureum.kube.kinds.kind import Kind
from gureum.kube.kinds.quantities import BadQuantity, kept
from gureum.kube.protobuf.decode import CONTENT_TYPE, BadProtobuf, decode
from gureum.kube.requests import JSON, Document, Request
from gureum.kube.schemas import META, Schema, definition, of_kind
from gureum.kube.verbs import duplicates
from gureum.kube.verbs.options import field_validation

LIMIT_BODY_BYTES = 3 * 1024 * 1024
LIMIT_DEPTH = 200
ASIDE_FROM_BYTES = 32 * 1024
YAML = "application/yaml"
APPLIED = "application/apply-patch+yaml"
LIMIT_YAML_NODES = 200_000
"""Also with aliases written out: more than any object has that is small enough to be kept, and some seconds' work at most."""
LIMIT_SHOWN_BYTES = 30
_EXPECTED: dict[str, Any] = {"string": str, "boolean": bool, "number": int | float}
_GO_NAMES = {"string": "string", "boolean": "bool", "number": "float64"}
Object = dict[str, Any]
_MOMENT = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_ZONE = r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_TIMES = {
    "Time": (re.compile(rf"{_MOMENT}(\.\d+)?{_ZONE}"), "2006-01-02T15:04:05Z07:00"),
    "MicroTime": (re.compile(rf"{_MOMENT}\.\d{{6}}{_ZONE}"), "2006-01-02T15:04:05.000000Z07:00"),
}
"""How they are written, and the layout that an error names. Source: k8s.io/apimachinery/pkg/apis/meta/v1 (time.go, micro_time.go)."""
_ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


def read_body(request: Request) -> Object:
    """The object in the body, {} of an empty one. StatusError."""
    if not request.body:
        return {}
    media = _media(request)
    if media in (JSON, "", "*/*"):
        value = read_json(request.body)
    elif media == YAML:
        value = document_of(request).value
    elif media == CONTENT_TYPE:
        try:
            value = decode(request.body)[2]
        except BadProtobuf as error:
            raise bad_request(str(error)) from error
    else:
        raise unsupported_media(
            f"the body of the request was in an unknown format - accepted media types include: {_ACCEPTED}"
        )
    if not isinstance(value, dict):
        raise bad_request(
            "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct"
        )
    return value


def read_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def read_yaml(body: bytes) -> Any:
    try:
        return _without_dates(load_yaml(body, depth=LIMIT_DEPTH, nodes=LIMIT_YAML_NODES))
    except HostileYaml as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from error


def document_of(request: Request) -> Document:
    """What the YAML body of a request says. BadRequest."""
    if request.document is None:
        request.document = _read_document(request.body, applied=_media(request) != YAML)
    if request.document.error is not None:
        raise request.document.error
    return request.document


async def read_aside(request: Request) -> None:
    """Reads a long YAML body in a thread: it takes seconds at worst, in which others are to be answered."""
    media = _media(request)
    if len(request.body) >= ASIDE_FROM_BYTES and media in (YAML, APPLIED):
        request.document = await asyncio.to_thread(_read_document, request.body, applied=media != YAML)


def _media(request: Request) -> str:
    return request.headers.get("content-type", JSON).partition(";")[0].strip().lower()


def _read_document(body: bytes, *, applied: bool) -> Document:
    try:
        value = _read_applied(body) if applied else read_yaml(body)
    except StatusError as error:
        return Document(None, [], error)
    return Document(value, duplicates.of_applied(body, value) if applied else duplicates.of_yaml(body))


def _read_applied(body: bytes) -> Any:
    """A configuration that is applied: YAML, also where it begins like JSON; mostly it is JSON, which is read faster."""
    if body[:1] == b"{":
        with suppress(msgspec.DecodeError, RecursionError):
            return msgspec.json.decode(body)
    return read_yaml(body)


def _without_dates(value: Any) -> Any:
    """YAML knows dates, JSON does not: they are texts."""
    if isinstance(value, dict):
        return {str(name): _without_dates(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_dates(item) for item in value]
    if isinstance(value, datetime):
        moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return f"{moment.isoformat()}Z"
    return value.isoformat() if isinstance(value, date) else value


def check_header(obj: Object, kind: Kind) -> None:
    """That the object is of the path's kind and version; what is not said is filled in. BadRequest."""
    version, name = obj.get("apiVersion"), obj.get("kind")
    for field, value in (("apiVersion", version), ("kind", name)):
        if value is not None and not isinstance(value, str):
            text = f"json: cannot unmarshal {_json_name(value)} into Go struct field .{field} of type string"
            raise bad_request(f"couldn't get version/kind; json parse error: {text}")
    if name is None or version is None:
        obj["apiVersion"], obj["kind"] = version or kind.api_version, name or kind.kind
        version, name = obj["apiVersion"], obj["kind"]
    if version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    if name != kind.kind:
        raise bad_request(f"the kind in the data ({name}) does not match the expected kind ({kind.kind})")


class Misfit(Exception):
    """A value has another type than the schema says. `wanted`: the type as the original writes it; `struct` and `fields`: the struct
    that has the field, and the fields that lead there."""

    def __init__(self, value: Any, wanted: str) -> None:
        super().__init__()
        self.value = value
        self.wanted = wanted
        self.struct = ""
        self.fields: list[str] = []

    def is_in(self, field: str, struct: str) -> None:
        self.fields.insert(0, field)
        self.struct = self.struct or struct

    def __str__(self) -> str:
        return self.decoding()

    def decoding(self) -> str:
        """As the decoder of JSON says it."""
        name = _json_name(self.value)
        if name == "number" and self.wanted.startswith("int"):
            name = f"number {self.value}"
        place = f"{self.struct}.{'.'.join(self.fields)}"
        return f"json: cannot unmarshal {name} into Go struct field {place} of type {self.wanted}"

    def converting(self) -> str:
        """As the converter says it that strategic merges use."""
        name = {"bool": "bool", "string": "string", "array": "slice", "object": "map", "null": "invalid"}.get(
            _json_name(self.value), "float64" if isinstance(self.value, float) else "int64"
        )
        if self.wanted.startswith(("[]", "map[")):
            return f"cannot restore {'slice' if self.wanted.startswith('[') else 'map'} from {name}"
        if "." in self.wanted:
            return f"cannot restore struct from: {name}"
        if name == "int64" and self.wanted == "string":
            return "cannot convert int64 to string"
        return f"unrecognized type: {self.wanted}"


class Malformed(Misfit):
    """A value that its type cannot be read from, in the words of that type."""

    def decoding(self) -> str:
        return self.wanted

    def converting(self) -> str:
        return self.wanted


def _json_name(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")


class Shaper:
    """Walks a value along its schema. `unknown`: paths of fields that the schema does not have."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        # What has another type than a custom resource's schema says is refused by its validation, all of it at once.
        self._lenient = kind.custom is not None
        self.unknown: list[str] = []

    def shape(self, value: Any, schema: Schema, path: str = "", depth: int = 0) -> Any:
        """The value without unknown fields, and without nulls that a custom kind does not ask for. Misfit when a type does not fit."""
        if depth > LIMIT_DEPTH:
            raise bad_request("the object is nested too deeply")
        kind = schema.type
        lenient = self._lenient and path.partition(".")[0] not in ("metadata", "apiVersion", "kind")
        if lenient and not _fits(value, kind):
            return value
        if kind == "scalar":
            return value if lenient else self._scalar(value, schema)
        if kind == "object":
            return self._object(value, schema, path, depth)
        if kind == "array":
            if not isinstance(value, list):
                raise Misfit(value, _go_type(schema))
            items = schema.items
            if items is None:
                return value
            return [
                self.shape(_zero(items) if item is None else item, items, f"{path}[{at}]", depth + 1)
                for at, item in enumerate(value)
            ]
        if kind == "map":
            if not isinstance(value, dict):
                raise Misfit(value, _go_type(schema))
            return {
                name: self.shape(item, child, f"{path}.{name}", depth + 1)
                for name, item in value.items()
                if item is not None and (child := schema.child(name)) is not None
            }
        return value

    def _object(self, value: Any, schema: Schema, path: str, depth: int) -> Any:
        if not isinstance(value, dict):
            raise Misfit(value, _go_type(schema))
        found = {}
        keep = schema.mark("preserve-unknown-fields")
        for name, item in value.items():
            child = schema.child(name)
            if child is None:
                if keep:
                    found[name] = item
                else:
                    self.unknown.append(f"{path}.{name}" if path else name)
            elif type(item) is child.plain:
                found[name] = item
            elif item is not None:
                try:
                    shaped = self.shape(item, child, f"{path}.{name}" if path else name, depth + 1)
                except Misfit as misfit:
                    misfit.is_in(name, schema.name.rpartition(".")[2] or self._kind.kind)
                    raise
                # Of built-in kinds an empty map or list is none, as the original's types have it (omitempty).
                if shaped or self._lenient or child.type not in ("map", "array") or name in schema.required:
                    found[name] = shaped
            elif self._lenient and child.node.get("nullable"):
                found[name] = None
        return found

    def _scalar(self, value: Any, schema: Schema) -> Any:
        wanted = schema.scalar
        if not wanted:
            return self._of_its_own(value, schema)
        if wanted == "integer":
            return self._integer(value, schema)
        expected = _EXPECTED[wanted]
        if not isinstance(value, expected) or (isinstance(value, bool) and wanted != "boolean"):
            raise Misfit(value, _go_type(schema))
        return value

    def _of_its_own(self, value: Any, schema: Schema) -> Any:
        """What is a thing of its own in JSON. What is none is refused: one of them in a list, and no typed client can read the list."""
        kind = schema.name.rpartition(".")[2]
        if kind == "Quantity":
            text = value if isinstance(value, str) else shown(value)
            try:
                return kept(text)
            except BadQuantity as error:
                raise Malformed(value, str(error)) from error
        if isinstance(value, dict | list) and kind and kind != "FieldsV1":
            raise Misfit(value, _go_type(schema))
        if kind == "IntOrString" and not isinstance(value, str):
            bits = isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31
            if not bits:
                name = f"number {value}" if _json_name(value) == "number" else _json_name(value)
                raise Malformed(value, f"json: cannot unmarshal {name} into Go value of type int32")
        if kind in _TIMES:
            pattern, layout = _TIMES[kind]
            if not isinstance(value, str):
                text = f"json: cannot unmarshal {_json_name(value)} into Go value of type string"
                raise Malformed(value, text)
            if not value:
                return None  # as managed fields of older homes have it, which typed clients cannot read
            if not pattern.fullmatch(value):
                raise Malformed(
                    value, f'parsing time {shown(value)} as "{layout}": cannot parse {shown(value)} as "2006"'
                )
        return value

    def _integer(self, value: Any, schema: Schema) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        bits = 31 if schema.node.get("format") == "int32" else 63
        if not isinstance(value, int) or isinstance(value, bool) or not -(2**bits) <= value < 2**bits:
            raise Misfit(value, _go_type(schema))
        return value


def _zero(schema: Schema) -> Any:
    """What a null in a list is to the original: its type's zero."""
    kind = schema.type
    if kind in ("object", "map"):
        return {}
    if kind == "array":
        return []
    return {"string": "", "integer": 0, "number": 0, "boolean": False}.get(schema.scalar)


def _fits(value: Any, kind: str) -> bool:
    return isinstance(value, list) if kind == "array" else isinstance(value, dict) or kind not in ("object", "map")


def _go_type(schema: Schema) -> str:
    """`[]v1.Container`, `map[string]string`, `int32`."""
    inner = schema.items if schema.type == "array" else schema.others if schema.type == "map" else None
    if schema.type in ("array", "map"):
        start = "[]" if schema.type == "array" else "map[string]"
        return f"{start}{_go_type(inner) if inner is not None else 'interface {}'}"
    scalar = schema.scalar if schema.type == "scalar" else ""
    if scalar:
        return str(schema.node.get("format") or "int64") if scalar == "integer" else _GO_NAMES[scalar]
    *_, version, name = ("", *schema.name.split("."))[-2:] if schema.name else ("", "map[string]interface {}")
    return f"{version}.{name}" if version else name


def decode_object(request: Request, kind: Kind, schema: Schema | None) -> Object:
    """The object in the request's body, in its kind's shape; unknown fields are refused or warned of."""
    if len(request.body) > LIMIT_BODY_BYTES:
        raise StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {LIMIT_BODY_BYTES}")
    try:
        obj = read_body(request)
    except StatusError as error:
        if error.code != 400:
            raise
        start = f"the object provided is unrecognized (must be of type {kind.kind}): "
        raise bad_request(f"{start}{error.message} ({_summary(request.body)})") from error
    if not request.body:
        raise bad_request("EOF")
    twice: list[str] = []
    if field_validation(request) != "Ignore":
        if _media(request) == YAML:
            twice = document_of(request).twice
        elif request.body[:1] == b"{":
            twice = duplicates.of_json(request.body, obj)
    check_header(obj, kind)
    in_order = bool(twice) and kind.custom is None and request.body[:1] == b"{"
    return shape_object(request, obj, kind, schema, twice, in_order=in_order)


def _summary(body: bytes) -> str:
    """The start of a body, as an error shows it: JSON as it is, all else as hexadecimal digits."""
    start = body[:LIMIT_SHOWN_BYTES]
    text = start.decode(errors="replace") if body[:1] == b"{" else start.hex()
    return text + (" ..." if len(body) > LIMIT_SHOWN_BYTES else "")


def fitting(obj: Object, kind: Kind) -> Object:
    """What is no object of its own (a Scale, DeleteOptions) in its kind's shape; what its kind does not have is left out. BadRequest."""
    schema = of_kind(kind.group, kind.version, kind.kind) or definition(f"{META}{kind.kind}")
    try:
        return shaped(obj, kind, schema)[0]
    except Misfit as misfit:
        raise bad_request(f"{_start(kind)}{misfit.decoding()}") from misfit


def _start(kind: Kind) -> str:
    return f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '


def shape_object(
    request: Request, obj: Object, kind: Kind, schema: Schema | None, twice: list[str], *, in_order: bool = False
) -> Object:
    """The object in its kind's shape. `twice`: what is told of names that stand twice in its body; `in_order`: it is JSON that one decoder
    reads, which tells of these and of unknown ones as it meets them. BadRequest."""
    try:
        obj, unknown = shaped(obj, kind, schema)
    except Misfit as misfit:
        raise bad_request(f"{_start(kind)}{misfit.decoding()}") from misfit
    told = duplicates.in_order(request.body, unknown) if in_order else [*twice, *unknown_fields(unknown)]
    wrong = judged(request, told)
    if wrong:
        raise bad_request(f"{_start(kind)}{wrong}")
    return obj


def shaped(obj: Object, kind: Kind, schema: Schema | None) -> tuple[Object, list[str]]:
    """The object in its kind's shape, and the paths of fields that it has and its kind does not. Misfit."""
    shaper = Shaper(kind)
    if schema is not None:
        obj = shaper.shape(obj, schema)
    if not isinstance(obj.setdefault("metadata", {}), dict):
        misfit = Misfit(obj["metadata"], "v1.ObjectMeta")
        misfit.is_in("metadata", kind.kind)
        raise misfit
    return obj, shaper.unknown


def unknown_fields(paths: list[str]) -> list[str]:
    return [f'unknown field "{path}"' for path in paths]


def judged(request: Request, told: list[str]) -> str:
    """What refuses a body as strictly as its client wishes it read; "" where it warns at most. `told`: of its names, those of YAML first."""
    mode = field_validation(request)
    if mode == "Warn" and told:
        request.warn(told[:100])
    if mode != "Strict" or not told:
        return ""
    lines = [one for one in told if one.startswith("line ")]
    told = ([duplicates.in_one(lines)] if lines else []) + told[len(lines) :]
    return f"strict decoding error: {', '.join(told)}"
