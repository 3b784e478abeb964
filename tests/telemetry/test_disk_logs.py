"""What a read of log events puts together: parts of memory and of files."""

from __future__ import annotations

from itertools import islice

from hypothesis import example, given
from hypothesis import strategies as st

from gureum.telemetry.disk_logs import _merged
from tests.telemetry.things import event


@example(parts=[[1, 3], [2]], forward=True)
@example(parts=[[1, 3], [2]], forward=False)
@example(parts=[[5], [], [1, 2], [9]], forward=False)
@given(st.lists(st.lists(st.integers(0, 99), max_size=6, unique=True), min_size=1, max_size=5), st.booleans())
def test_parts_come_in_the_order_of_reading_also_where_their_times_overlap(
    parts: list[list[int]], forward: bool
) -> None:
    """The last part is that of files, which have it in that order already."""
    *hot, cold = [sorted(part) for part in parts]
    cold.sort(reverse=not forward)
    found = _merged([[event(str(n), n) for n in part] for part in (*hot, cold)], forward=forward)
    assert [one.time_ms for one in found] == sorted([n for part in parts for n in part], reverse=not forward)


class Counted:
    """An event that counts how often it was looked at."""

    looks = 0

    def __init__(self, number: int) -> None:
        self.sequence = number

    @property
    def time_ms(self) -> int:
        Counted.looks += 1
        return self.sequence


def test_a_page_of_many_streams_is_not_paid_with_all_that_they_hold() -> None:
    """Their times overlap, as those of a group's streams do."""
    parts = [[Counted(n) for n in range(first, 50_000, 100)] for first in range(100)]
    page = list(islice(_merged([*parts, []], forward=True), 100))  # type: ignore[list-item]
    assert [one.sequence for one in page] == list(range(100))
    assert Counted.looks < 2_000
