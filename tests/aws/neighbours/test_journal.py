from __future__ import annotations

from pathlib import Path

import pytest

from gureum.aws.neighbours.journal import Entry, Journal, JournalBroken, JournalFull, Sent
from gureum.base.sealing import Sealer

BIG = 1 << 20


def entry(body: bytes) -> Entry:
    return Entry(
        "s3", "1" * 12, "eu-west-1", Sent("PUT", "https://s3/b/k", {"a": "b"}, body), 1.5, b"s", 200, {"k": b"v"}
    )


def journal(folder: Path, limit: int = BIG) -> Journal:
    return Journal(folder / "neighbours" / "journal", Sealer(folder / "seal.key"), limit)


def written(folder: Path, *bodies: bytes) -> Path:
    made = journal(folder)
    assert list(made.entries()) == []
    for body in bodies:
        made.append(entry(body))
    made.close()
    return folder / "neighbours" / "journal"


def bodies(folder: Path) -> list[bytes]:
    return [one.sent.body for one in journal(folder).entries()]


def test_entries_come_back_whole_and_in_order(tmp_path: Path) -> None:
    written(tmp_path, b"one", b"two")
    assert list(journal(tmp_path).entries()) == [entry(b"one"), entry(b"two")]


def test_nothing_that_was_said_can_be_read_from_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, b"very secret")
    assert b"very secret" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_half_written_end_is_cut_off_and_written_over(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path, b"one", b"two")
    path.write_bytes(path.read_bytes()[:-cut])
    again = journal(tmp_path)
    assert [one.sent.body for one in again.entries()] == [b"one"]
    again.append(entry(b"three"))
    again.close()
    assert bodies(tmp_path) == [b"one", b"three"]


def test_damage_before_the_end_is_an_error_and_not_a_loss(tmp_path: Path) -> None:
    path = written(tmp_path, b"one", b"two")
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalBroken):
        bodies(tmp_path)


@pytest.mark.parametrize("bit", range(64))
@pytest.mark.parametrize("damaged", [0, 1])
def test_a_wrong_length_or_checksum_is_an_error_and_not_the_end(tmp_path: Path, damaged: int, bit: int) -> None:
    """What is taken for the end is written over: all that came after it would be lost for good."""
    path = written(tmp_path, b"one", b"two", b"three")
    data = bytearray(path.read_bytes())
    start = damaged * (8 + int.from_bytes(data[:4]))
    data[start + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    with pytest.raises(JournalBroken):
        bodies(tmp_path)
    assert path.read_bytes() == data


def test_an_end_of_zeros_is_cut_off(tmp_path: Path) -> None:
    """As a file system may show a file after a crash whose size was written before what is in it."""
    path = written(tmp_path, b"one")
    path.write_bytes(path.read_bytes() + bytes(100_000))
    assert bodies(tmp_path) == [b"one"]


def test_an_entry_cannot_be_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, b"one", b"two")
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 2 :])
    with pytest.raises(JournalBroken, match="does not open"):
        bodies(tmp_path)


def test_the_limit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    made = journal(tmp_path, 600)
    made.append(entry(b"one"))
    size = (tmp_path / "neighbours" / "journal").stat().st_size
    with pytest.raises(JournalFull):
        made.append(entry(b"x" * 600))
    assert (tmp_path / "neighbours" / "journal").stat().st_size == size
    made.append(entry(b"two"))
    made.close()
    assert bodies(tmp_path) == [b"one", b"two"]


def test_cleared_is_empty(tmp_path: Path) -> None:
    written(tmp_path, b"one")
    made = journal(tmp_path)
    list(made.entries())
    made.clear()
    made.append(entry(b"new"))
    made.close()
    assert bodies(tmp_path) == [b"new"]
