"""Bodies of other types than the Engine's: refused in its decoder's words, before anything is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gureum.docker.errors import DockerError
from gureum.docker.shapes import read

CREATE = "container.CreateRequest"


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        (CREATE, [], "array into Go value of type container.CreateRequest"),
        (CREATE, {"Env": "A=1"}, "string into Go struct field CreateRequest.Env of type []string"),
        (CREATE, {"Env": [1]}, "number into Go struct field CreateRequest.Env of type string"),
        (
            CREATE,
            {"HostConfig": {"Memory": "1g"}},
            "string into Go struct field HostConfig.HostConfig.Memory of type int64",
        ),
        (
            CREATE,
            {"HostConfig": {"Memory": 1.5}},
            "number 1.5 into Go struct field HostConfig.HostConfig.Memory of type int64",
        ),
        (
            CREATE,
            {"HostConfig": {"Memory": 2**70}},
            f"number {2**70} into Go struct field HostConfig.HostConfig.Memory of type int64",
        ),
        (
            CREATE,
            {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": 8080}]}}},
            "number into Go struct field PortBinding.HostConfig.PortBindings.HostPort of type string",
        ),
        (
            CREATE,
            {"ExposedPorts": {"80/tcp": True}},
            "bool into Go struct field CreateRequest.ExposedPorts of type struct {}",
        ),
        (
            "network.CreateRequest",
            {"Name": "n", "IPAM": {"Options": {"a": 1}}},
            "number into Go struct field IPAM.IPAM.Options of type string",
        ),
    ],
)
def test_another_type_is_refused_in_the_words_of_docker(kind: str, body: Any, words: str) -> None:
    with pytest.raises(DockerError) as refused:
        read(json.dumps(body).encode(), kind)
    assert (refused.value.status, refused.value.message) == (400, f"invalid JSON: json: cannot unmarshal {words}")


def test_what_the_decoder_of_docker_takes_is_taken() -> None:
    body = {
        "image": "x",
        "Cmd": "true",
        "Entrypoint": ["a", None],
        "Labels": {"a": None},
        "Nobody": {"knows": [1]},
        "HostConfig": {"memory": 5, "Ulimits": [None], "Init": None, "PortBindings": {"80/tcp": None}, "Binds": None},
    }
    assert read(json.dumps(body).encode(), CREATE) == {
        "Image": "x",
        "Cmd": "true",
        "Entrypoint": ["a", ""],
        "Labels": {"a": ""},
        "HostConfig": {"Memory": 5, "Ulimits": [{}], "Init": None, "PortBindings": {"80/tcp": None}, "Binds": None},
    }
    assert read(b" ", CREATE) == read(b"null", CREATE) == {}


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"a":"\xff"}', b"[" * 100_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(DockerError, match="invalid JSON"):
        read(body, CREATE)
