"""Writes gureum/kube/protobuf/messages.json: what Kubernetes' types look like on the wire, read out of published programs.

    tools/kube_messages.py KUBECTL [HELM …]

A Go program carries its types: each field's name, type and tag (`json:"replicas,omitempty" protobuf:"varint,1,opt,name=replicas"`). The tags
are the interface: JSON names, protobuf numbers, what is left out when empty. Programs that are linked in place (no PIE) with Go 1.18-1.25 are
read; a later program adds the packages that the first ones lack (helm has apiextensions).
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "gureum" / "kube" / "protobuf" / "messages.json"
PACKAGE = re.compile(
    r"k8s\.io/(?:api|apimachinery/pkg/apis|apiextensions-apiserver/pkg/apis)/([a-z0-9]+/v[0-9][a-z0-9]*)$"
)
STABLE = re.compile(r".*/v[0-9]+$")
POINTER, SLICE, MAP, STRUCT, STRING = 22, 23, 21, 25, 24
BASIC = {1: "bool", 3: "int", 4: "int", 5: "int", 6: "int", 8: "uint8", 14: "float", STRING: "string"}
# Types with a JSON form of their own: not looked into.
OPAQUE = {
    "v1.Time": "Time", "v1.MicroTime": "MicroTime", "v1.Duration": "Duration", "v1.FieldsV1": "RawJSON", "v1.JSON": "RawJSON",
    "runtime.RawExtension": "RawExtension", "resource.Quantity": "Quantity", "intstr.IntOrString": "IntOrString",
    "v1.ExtraValue": "Strings", "v1.Verbs": "Strings", "v1.JSONSchemaPropsOrBool": "SchemaOrBool",
    "v1.JSONSchemaPropsOrArray": "SchemaOrArray", "v1.JSONSchemaPropsOrStringArray": "SchemaOrStrings",
}  # fmt: skip


class Program:
    """The types of one Go program (layout: internal/abi/type.go)."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        rodata, typelink = self._section(".rodata"), self._section(".typelink")
        self.base, self.shift, self.end = rodata[0], rodata[1] - rodata[0], rodata[0] + rodata[2]
        count = typelink[2] // 4
        self.links = [self.base + one for one in struct.unpack_from(f"<{count}i", self.data, typelink[1])]

    def structs(self) -> Iterator[tuple[str, str, int]]:
        """Package, name and place of every named struct that is reachable."""
        seen: set[int] = set()
        waiting = list(self.links)
        while waiting:
            at = waiting.pop()
            if at in seen or not self.base <= at < self.end:
                continue
            seen.add(at)
            kind, name, package = self.type(at)
            if kind in (POINTER, SLICE):
                waiting.append(self.pointer(at, 48))
            elif kind == MAP:
                waiting += [self.pointer(at, 48), self.pointer(at, 56)]
            elif kind == STRUCT:
                waiting += [place for _, _, place in self.fields(at)]
                if package:
                    yield package, name, at

    def fields(self, at: int) -> list[tuple[str, str, int]]:
        """Name, tag and the place of the type of a struct's fields."""
        first, count = self.pointer(at, 56), self.pointer(at, 64)
        return [(*self.name(self.pointer(first, 24 * i)), self.pointer(first, 24 * i + 8)) for i in range(count)]

    def type(self, at: int) -> tuple[int, str, str]:
        """Kind, name and, of named structs, the package."""
        flags, kind = self.data[at + self.shift + 20], self.data[at + self.shift + 23] & 31
        name = self.name(self.base + self._int32(at + 40))[0]
        package = self.name(self.base + self._int32(at + 80))[0] if flags & 1 and kind == STRUCT else ""
        return kind, name[1:] if flags & 2 else name, package

    def name(self, at: int) -> tuple[str, str]:
        """A name and the tag with it."""
        place = at + self.shift
        text, after = self._text(place + 1)
        return text, self._text(after)[0] if self.data[place] & 2 else ""

    def pointer(self, at: int, more: int) -> int:
        return int(struct.unpack_from("<Q", self.data, at + self.shift + more)[0])

    def _int32(self, at: int) -> int:
        return int(struct.unpack_from("<i", self.data, at + self.shift)[0])

    def _text(self, place: int) -> tuple[str, int]:
        length = shift = 0
        while True:
            byte = self.data[place]
            place, length, shift = place + 1, length | (byte & 127) << shift, shift + 7
            if byte < 128:
                return self.data[place : place + length].decode(), place + length

    def _section(self, wanted: str) -> tuple[int, int, int]:
        """Address, offset in the file and size (ELF64)."""
        (table,) = struct.unpack_from("<Q", self.data, 0x28)
        size, count, names = struct.unpack_from("<HHH", self.data, 0x3A)
        headers = [struct.unpack_from("<IIQQQQ", self.data, table + i * size) for i in range(count)]
        for header in headers:
            start = headers[names][4] + header[0]
            if self.data[start : self.data.index(b"\0", start)].decode() == wanted:
                return header[3], header[4], header[5]
        raise SystemExit(f"no section {wanted}")


def messages(program: Program) -> dict[str, dict[str, str]]:
    """By message, by field number: `name type`; gureum/kube/protobuf/messages.py explains the words."""
    found: dict[str, dict[str, str]] = {}
    for package, name, at in program.structs():
        match = PACKAGE.match(package)
        if not match or not STABLE.match(match[1]) or name in OPAQUE or match[1] == "meta/v1beta1":
            continue
        fields = {}
        for _, tag, place in program.fields(at):
            proto = re.search(r'protobuf:"[a-z0-9]+,(\d+),', tag)
            if proto:
                label, _, rest = re.search(r'json:"([^"]*)"', tag)[1].partition(",")  # type: ignore[index]
                optional = "?" if "omitempty" in rest else ""
                fields[int(proto[1])] = f"{label or '-'} {_spelled(program, place)}{optional}"
        if fields or not program.fields(at):
            short = name.rpartition(".")[2]
            found[f"{match[1]}.{short}"] = {str(number): fields[number] for number in sorted(fields)}
    return found


def _spelled(program: Program, at: int) -> str:
    kind, name, package = program.type(at)
    if name in OPAQUE:
        return OPAQUE[name]
    if kind == POINTER:
        return "*" + _spelled(program, program.pointer(at, 48))
    if kind == SLICE:
        inner = _spelled(program, program.pointer(at, 48))
        return "bytes" if inner == "uint8" else "[]" + inner
    if kind == MAP:
        return "{}" + _spelled(program, program.pointer(at, 56))
    if kind == STRUCT:
        match = PACKAGE.match(package)
        if not match:
            raise SystemExit(f"{package} {name}: what is that on the wire?")
        return f"{match[1]}.{name.rpartition('.')[2]}"
    return BASIC[kind]


def main() -> None:
    found: dict[str, dict[str, str]] = {}
    for path in sys.argv[1:]:
        packages = {name.partition(".")[0] for name in found}
        more = messages(Program(Path(path)))
        found |= {name: fields for name, fields in more.items() if name.partition(".")[0] not in packages}
    lines = [f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found)]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(found)} messages, {sum(map(len, found.values()))} fields")


if __name__ == "__main__":
    main()
