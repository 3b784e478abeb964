"""Bodies that kubectl 1.34 sent (recorded), and every message of the table, written by an encoder that shares nothing with the decoder."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.kube.protobuf.decode import MAGIC, BadProtobuf, decode, decode_message
from gureum.kube.protobuf.messages import fields_of, message_of

TABLE = json.loads(files("gureum.kube.protobuf").joinpath("messages.json").read_bytes())
DEPLOYMENT = (  # kubectl create deployment web --image=nginx --replicas=0 --port=80
    "6b3873000a150a07617070732f7631120a4465706c6f796d656e7412b8010a1f0a0377656212001a0022002a003200380042005a0a0a0361707012037765621286010800"
    "120c0a0a0a0361707012037765621a6c0a1c0a0012001a0022002a003200380042005a0a0a036170701203776562124c122e0a056e67696e7812056e67696e782a00320a"
    "0a001000185022002a0042006a007200800100880100900100a201001a00320042004a0052005800600068006201008a01009a0100c2010022020a00280038001a0c0800"
    "100018002000280038001a002200"
)
POLICY = (  # kubectl create pdb p --selector=a=b --min-available=50%
    "6b3873000a200a09706f6c6963792f76311213506f6444697372757074696f6e42756467657412360a110a017012001a0022002a0032003800420012150a09080110001a"
    "0335302512080a060a01611201621a0a080018002000280030001a002200"
)
SERVICE = (  # kubectl create service clusterip s --tcp=80:8080
    "6b3873000a0d0a02763112075365727669636512630a1b0a017312001a0022002a003200380042005a080a0361707012017312400a1b0a0738302d383038301203544350"
    "18502207080010903f1a00280012080a036170701201731a002209436c757374657249503a00420052005a00600068001a020a001a002200"
)


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while True:
        number, low = number >> 7, number & 127
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def envelope(version: str, kind: str, body: bytes) -> bytes:
    return MAGIC + field(1, field(1, version.encode()) + field(2, kind.encode())) + field(2, body)


def test_zero_of_a_pointer_stays_and_other_empty_members_go():
    version, kind, found = decode(bytes.fromhex(SERVICE))
    assert (version, kind) == ("v1", "Service")
    assert found == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "labels": {"app": "s"}},
        "spec": {
            "ports": [{"name": "80-8080", "protocol": "TCP", "port": 80, "targetPort": 8080}],
            "selector": {"app": "s"},
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }


def test_numbers_that_are_texts_too():
    spec = decode(bytes.fromhex(POLICY))[2]["spec"]
    assert spec == {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}


def test_replicas_zero_is_not_no_replicas():
    body = envelope("apps/v1", "Deployment", field(2, field(1, 0)))
    assert decode(body)[2]["spec"] == {"replicas": 0}


def test_members_written_beside_others():
    handler = field(1, field(1, field(1, b"true")))
    assert decode_message("core/v1.Probe", handler + field(2, 5)) == {
        "exec": {"command": ["true"]},
        "initialDelaySeconds": 5,
    }


@pytest.mark.parametrize(
    ("message", "body", "found"),
    [
        ("meta/v1.ObjectMeta", field(8, field(1, 1_700_000_000)), {"creationTimestamp": "2023-11-14T22:13:20Z"}),
        ("meta/v1.ObjectMeta", field(8, b""), {}),
        ("coordination/v1.LeaseSpec", field(4, field(1, 1) + field(2, 250_000)), {"renewTime": "1970-01-01T00:00:01.000250Z"}),
        ("core/v1.Secret", field(2, field(1, b"k") + field(2, b"\xff")), {"data": {"k": "/w=="}}),
        ("core/v1.ResourceRequirements", field(1, field(1, b"cpu") + field(2, field(1, b"100m"))), {"limits": {"cpu": "100m"}}),
        ("core/v1.ConfigMap", field(3, field(1, b"k") + field(2, b"")), {"binaryData": {"k": ""}}),
        ("meta/v1.ManagedFieldsEntry", field(7, field(1, b'{"f:a":{}}')), {"fieldsV1": {"f:a": {}}}),
        ("core/v1.PodSecurityContext", field(4, 5) + field(4, 6), {"supplementalGroups": [5, 6]}),
        ("core/v1.PodSecurityContext", field(4, varint(5) + varint(600)), {"supplementalGroups": [5, 600]}),
        ("core/v1.Container", field(1, b"a") + field(1, b"b"), {"name": "b"}),
        ("scheduling/v1.PriorityClass", field(2, -5), {"value": -5}),
    ],
)  # fmt: skip
def test_types_with_a_json_form_of_their_own(message, body, found):
    assert decode_message(message, body).items() >= found.items()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "expected prefix"),
        (envelope("v1", "Nothing", b""), 'no kind "Nothing"'),
        (envelope("v1", "Pod", field(9, b"")), "field 9 is unknown"),
        (envelope("v1", "Pod", field(1, field(1, 5))), "wire type 0"),
        (envelope("v1", "Pod", b"\x0a\x05ab"), "unexpected EOF"),
        (envelope("v1", "Pod", field(1, field(1, b"\xff"))), "UTF-8"),
        (envelope("v1", "Pod", b"\xff" * 20), "unexpected EOF"),
    ],
)
def test_what_is_wrong_is_said(body, text):
    with pytest.raises(BadProtobuf, match=text):
        decode(body)


def test_every_type_that_a_field_names_is_known():
    own = {
        "string",
        "bytes",
        "bool",
        "int",
        "float",
        "Time",
        "MicroTime",
        "Duration",
        "Quantity",
        "IntOrString",
        "RawJSON",
    }
    own |= {"RawExtension", "Strings", "SchemaOrBool", "SchemaOrArray", "SchemaOrStrings"}
    for name in TABLE:
        for one in fields_of(name).values():
            assert one.type in own or fields_of(one.type) is not None, (name, one)


@pytest.mark.parametrize(
    ("version", "kind", "message"),
    [
        ("v1", "Pod", "core/v1.Pod"),
        ("rbac.authorization.k8s.io/v1", "Role", "rbac/v1.Role"),
        ("apps/v1", "DeleteOptions", "meta/v1.DeleteOptions"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "apiextensions/v1.CustomResourceDefinition"),
    ],
)
def test_kinds_have_their_message(version, kind, message):
    assert message_of(version, kind) == message
    assert fields_of(message)


@given(st.binary(max_size=200))
def test_noise_is_an_error_or_an_object(noise):
    for body in (noise, envelope("v1", "Pod", noise), envelope("apps/v1", "Deployment", noise)):
        try:
            assert isinstance(decode(body)[2], dict)
        except BadProtobuf:
            pass


@given(st.data())
def test_a_real_body_with_bytes_changed_never_surprises(data):
    body = bytearray(bytes.fromhex(data.draw(st.sampled_from([DEPLOYMENT, POLICY, SERVICE]))))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(body))
    except BadProtobuf:
        pass
