"""A log of conmon as pieces of output."""

from __future__ import annotations

from pathlib import Path

import pytest

from gureum.drivers.conmon_streams import find_tail, parse, read_pieces

TIME = b"2023-11-14T22:13:20.123456789+00:00"
LOG = b"".join(
    TIME + rest + b"\n"
    for rest in (b" stdout F one", b" stdout P tw", b" stdout F o", b" stderr F bad", b" stdout F ", b" stdout P end")
)


def test_pieces_are_what_was_printed_byte_for_byte() -> None:
    pieces, used = parse(LOG + b"2023-11-14T22:13:20.1234567")
    assert used == len(LOG)
    assert b"".join(piece.data for piece in pieces if piece.stream == "stdout") == b"one\ntwo\n\nend"
    assert [piece.data for piece in pieces if piece.stream == "stderr"] == [b"bad\n"]
    assert {piece.time_ns for piece in pieces} == {1700000000123456789}


@pytest.mark.parametrize(
    ("lines", "text"), [(0, b""), (1, b"end"), (2, b"\nend"), (4, b"two\nbad\n\nend"), (9, b"one\ntwo\nbad\n\nend")]
)
def test_the_last_lines(tmp_path: Path, lines: int, text: bytes) -> None:
    (tmp_path / "log").write_bytes(LOG)
    page = read_pieces(tmp_path / "log", find_tail(tmp_path / "log", lines))
    assert b"".join(piece.data for piece in page.pieces) == text
    assert read_pieces(tmp_path / "log", page.place).pieces == ()


def test_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join(TIME + b" stdout F line %d\n" % number for number in range(20_000)))
    page = read_pieces(tmp_path / "log", find_tail(tmp_path / "log", 3000))
    assert len(page.pieces) == 3000
    assert page.pieces[0].data == b"line 17000\n"


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_pieces(tmp_path / "log", "").pieces == ()
    assert find_tail(tmp_path / "log", 5) == ""
