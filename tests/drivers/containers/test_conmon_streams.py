"""A log of conmon as pieces of output."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.drivers.containers.conmon_streams import find_tail, parse, parse_merged, read_pieces
from gureum.ports.streams import Piece, Stretch

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
    page = read_pieces(tmp_path / "log", find_tail(tmp_path / "log", lines).start)
    assert b"".join(piece.data for piece in page.pieces) == text
    assert read_pieces(tmp_path / "log", page.place).pieces == ()


def test_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join(TIME + b" stdout F line %d\n" % number for number in range(20_000)))
    page = read_pieces(tmp_path / "log", find_tail(tmp_path / "log", 3000).start)
    assert len(page.pieces) == 3000
    assert page.pieces[0].data == b"line 17000\n"


@pytest.mark.parametrize(("lines", "count"), [(3, 3), (0, 0), (-1, 10)])
def test_a_tail_has_no_line_that_came_after_it_was_asked_for(tmp_path: Path, lines: int, count: int) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(TIME + b" stdout F line %d\n" % number for number in range(10)))
    stretch = find_tail(log, lines)
    with log.open("ab") as file:
        file.write(TIME + b" stdout F later\n")
    page = read_pieces(log, stretch.start, stretch.end)
    assert [piece.data for piece in page.pieces] == [b"line %d\n" % number for number in range(10 - count, 10)]
    assert read_pieces(log, page.place, stretch.end).pieces == ()
    log.rename(tmp_path / "old")
    log.write_bytes(TIME + b" stdout F of a log begun anew\n")
    assert read_pieces(log, stretch.start, stretch.end).pieces == ()


_LINES = st.lists(
    st.one_of(
        st.builds(
            lambda stream, end, text: b" ".join((TIME, stream, end, text)),
            st.sampled_from([b"stdout", b"stderr"]),
            st.sampled_from([b"F", b"P"]),
            st.binary(max_size=5).map(lambda text: text.replace(b"\n", b" P ")),
        ),
        st.sampled_from(
            [b"", b"no line of a log", TIME + b" stdin F x", b"x " + TIME + b" stdout F x", TIME + b" stdout F"]
        ),
    )
)


@given(_LINES, st.binary(max_size=3).map(lambda text: text.replace(b"\n", b"")))
def test_merged_pieces_say_the_same(lines: list[bytes], rest: bytes) -> None:
    data = b"".join(line + b"\n" for line in lines) + rest
    single, used = parse(data)
    merged, also_used = parse_merged(data)
    assert used == also_used
    expected = [(stream, b"".join(one.data for one in same)) for stream, same in groupby_stream(single)]
    # What is no line of a log parts neighbours, too.
    assert [(stream, b"".join(one.data for one in same)) for stream, same in groupby_stream(merged)] == expected
    assert [one.whole for one in merged[-1:]] == [one.whole for one in single[-1:]]


def groupby_stream(pieces: list[Piece]) -> list[tuple[str, list[Piece]]]:
    return [(stream, list(same)) for stream, same in groupby(pieces, key=lambda piece: piece.stream)]


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_pieces(tmp_path / "log", "").pieces == ()
    assert find_tail(tmp_path / "log", 5) == Stretch("", "")
