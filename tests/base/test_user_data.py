"""User data taken apart. Expected kinds: cloud-init's documentation, "User-data formats"."""

from __future__ import annotations

import gzip
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.base.user_data import LIMIT_BYTES, Part, UserData, read_user_data

SCRIPT = b"#!/bin/sh\necho hi\n"


def multipart(*parts: tuple[str, str]) -> bytes:
    message = MIMEMultipart()
    for subtype, text in parts:
        message.attach(MIMEText(text, subtype))
    return message.as_bytes()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (SCRIPT, "script"),
        (b"#cloud-config\nruncmd: []\n", "config"),
        (b"#cloud-boothook\n#!/bin/sh\n", "boothook"),
        (b"\n\n" + SCRIPT, "script"),
        (b"#Cloud-Config\n", "config"),
    ],
)
def test_first_line_tells_the_kind(data: bytes, kind: str) -> None:
    assert [part.kind for part in read_user_data(data).parts] == [kind]


def test_gzip_is_unpacked() -> None:
    assert read_user_data(gzip.compress(SCRIPT)).parts == (Part("script", SCRIPT),)


def test_multipart_keeps_the_order_and_the_declared_types() -> None:
    data = multipart(
        ("x-shellscript", SCRIPT.decode()), ("cloud-config", "hostname: a\n"), ("cloud-boothook", "echo early\n")
    )
    assert [part.kind for part in read_user_data(data).parts] == ["script", "config", "boothook"]


def test_part_without_a_telling_type_is_told_by_its_first_line() -> None:
    assert [part.kind for part in read_user_data(multipart(("plain", SCRIPT.decode()))).parts] == ["script"]


def test_archive_is_split() -> None:
    data = b"#cloud-config-archive\n- type: text/cloud-config\n  content: 'hostname: a'\n- |\n  #!/bin/sh\n  true\n"
    assert [part.kind for part in read_user_data(data).parts] == ["config", "script"]


@pytest.mark.parametrize(
    "data", [b"#include\nhttp://example.com/\n", b"#part-handler\n", b"## template: jinja\n#cloud-config\n", b"what?"]
)
def test_what_is_not_run_is_said(data: bytes) -> None:
    read = read_user_data(data)
    assert read.parts == ()
    assert len(read.warnings) == 1


@pytest.mark.parametrize("data", [b"", b"\n \n"])
def test_nothing_is_nothing(data: bytes) -> None:
    assert read_user_data(data) == UserData()


def test_gzip_bomb_is_refused() -> None:
    read = read_user_data(gzip.compress(b"#!" + bytes(50 * LIMIT_BYTES)))
    assert read.parts == ()
    assert "larger" in read.warnings[0]


def test_gzip_inside_gzip_has_an_end() -> None:
    data = SCRIPT
    for _ in range(40):
        data = gzip.compress(data)
    assert read_user_data(data).parts == ()


def test_too_many_parts_are_refused() -> None:
    read = read_user_data(multipart(*[("x-shellscript", "#!/bin/sh\n")] * 200))
    assert read.parts == ()
    assert "parts" in read.warnings[0]


def test_cut_off_gzip_is_refused() -> None:
    assert "early" in read_user_data(gzip.compress(SCRIPT)[:-9]).warnings[0]


@given(
    st.binary(max_size=400),
    st.sampled_from(
        [b"", b"#cloud-config-archive\n", b"Content-Type: multipart/mixed; boundary=x\n\n--x\n", b"\x1f\x8b"]
    ),
)
def test_any_bytes_are_survived(data: bytes, start: bytes) -> None:
    read_user_data(start + data)
