"""Consoles read line by line from conmon's files, and told of as they are written."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gureum.drivers.containers.console_files import LIMIT_LINE_BYTES, LIMIT_READ_BYTES, ConsoleFiles, parse, read_lines
from gureum.ports import PortError

TIME = "2026-11-28T22:00:00.123456789+00:00"
TIME_MS = 1_795_903_200_123


def cri(text: str, mark: str = "F") -> bytes:
    return f"{TIME} stdout {mark} {text}\n".encode()


def texts(data: bytes) -> list[str]:
    return [line.text for line in parse(data)[0]]


def test_lines_have_their_times_and_no_marks() -> None:
    lines, used = parse(cri("hello  world\r") + cri("") + cri("ß"))
    assert [(line.time_ms, line.text) for line in lines] == [(TIME_MS, "hello  world"), (TIME_MS, ""), (TIME_MS, "ß")]
    assert used == len(cri("hello  world\r") + cri("") + cri("ß"))


def test_parts_are_one_line_once_it_has_ended() -> None:
    begun = cri("one ", "P") + cri("two ", "P")
    assert parse(cri("before") + begun) == (parse(cri("before"))[0], len(cri("before")))
    assert texts(begun + cri("three")) == ["one two three"]


def test_a_line_without_end_comes_in_parts_and_others_are_passed_over() -> None:
    piece = "x" * (LIMIT_LINE_BYTES // 2)
    assert texts(cri(piece, "P") * 4) == [piece * 2, piece * 2]
    assert texts(b"garbage\n" + cri("good") + b"\xff\xfe F\n") == ["good"]
    assert texts(TIME.encode() + b" stdout F \xff\n") == ["\ufffd"]
    assert parse(b"yesterday stdout F x\n")[0][0].time_ms == 0


def test_reading_goes_on_from_its_place_also_in_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "i-1.log"
    assert read_lines(path, "") == read_lines(path, "")
    path.write_bytes(cri("one") + cri("tw", "P"))
    page = read_lines(path, "")
    assert [line.text for line in page.lines] == ["one"]
    with open(path, "ab") as file:
        file.write(cri("o"))
    page = read_lines(path, page.place)
    assert [line.text for line in page.lines] == ["two"]
    assert read_lines(path, page.place).lines == ()
    other = tmp_path / "new"
    other.write_bytes(cri("three"))
    other.replace(path)
    assert [line.text for line in read_lines(path, page.place).lines] == ["three"]


def test_a_large_file_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "i-1.log"
    path.write_bytes(b"".join(cri(f"{n:0100d}") for n in range(10_000)))
    found: list[str] = []
    place = ""
    while (page := read_lines(path, place)).lines:
        assert sum(len(line.text) for line in page.lines) < LIMIT_READ_BYTES
        found += [line.text for line in page.lines]
        place = page.place
    assert [int(text) for text in found] == list(range(10_000))


def test_whoever_waits_is_told_of_a_write(tmp_path: Path) -> None:
    async def run() -> None:
        consoles = ConsoleFiles(tmp_path)
        path = tmp_path / "i-1.log"
        path.write_bytes(cri("one"))
        place = (await consoles.read("i-1")).place
        waiting = asyncio.create_task(consoles.changed("i-1", 30.0))
        other = asyncio.create_task(consoles.changed("i-2", 30.0))
        await asyncio.wait_for(other, 5)  # never read: there may be something
        await consoles.read("i-2")
        other = asyncio.create_task(consoles.changed("i-2", 30.0))
        await asyncio.sleep(0)
        with open(path, "ab") as file:
            file.write(cri("two"))
        await asyncio.wait_for(waiting, 5)
        assert [line.text for line in (await consoles.read("i-1", place)).lines] == ["two"]
        assert not other.done()
        other.cancel()
        await consoles.changed("i-1", 0.01)
        for name in ("", "../x", ".x"):
            with pytest.raises(PortError):
                await consoles.read(name)
        await consoles.close()

    asyncio.run(run())
