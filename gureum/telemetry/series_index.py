"""The series of a scope in the order of namespace, name and dimensions, so that a page of them costs a page.

(namespace, name), sorted ─► its series: sorted, and those added since somebody looked ─► pairs of dimensions
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

from gureum.ports.telemetry import Series, SeriesQuery

Dimensions = tuple[tuple[str, str], ...]
FEW = 100
"""So many new ones are put in their places one by one; more are sorted in."""


class SeriesIndex:
    """Of one scope. Adding is an append; who looks sorts what came since."""

    def __init__(self) -> None:
        self._metrics: dict[tuple[str, str], _Metric] = {}
        self._names: list[tuple[str, str]] = []

    def add(self, series: Series) -> None:
        """One that is not there yet."""
        place = (series.namespace, series.name)
        metric = self._metrics.get(place)
        if metric is None:
            metric = self._metrics[place] = _Metric()
            insort(self._names, place)
        metric.add(series)

    def find(self, query: SeriesQuery) -> Iterator[Series]:
        """Those that the query names, whenever they had data, in order. Not to be gone through while series are added."""
        after = query.after
        for place in self._places(query):
            metric = self._metrics[place]
            behind = after is not None and place == (after.namespace, after.name)
            series = metric.behind(after.dimensions) if after is not None and behind else metric.all()
            yield from _with_dimensions(series, query)

    def _places(self, query: SeriesQuery) -> list[tuple[str, str]]:
        after, wanted = query.after, (query.namespace, query.name)
        if all(wanted):
            found = [wanted] if wanted in self._metrics else []
        else:
            found = [one for one in self._names if query.namespace in ("", one[0]) and query.name in ("", one[1])]
        return found if after is None else found[bisect_left(found, (after.namespace, after.name)) :]


class _Metric:
    def __init__(self) -> None:
        self._series: list[Series] = []
        self._new: list[Series] = []

    def add(self, series: Series) -> None:
        self._new.append(series)

    def all(self) -> list[Series]:
        if len(self._new) > FEW:
            self._series = sorted([*self._series, *self._new], key=_dimensions_of)
        else:
            for one in self._new:
                insort(self._series, one, key=_dimensions_of)
        self._new.clear()
        return self._series

    def behind(self, dimensions: Dimensions) -> list[Series]:
        series = self.all()
        return series[bisect_right(series, dimensions, key=_dimensions_of) :]


def _with_dimensions(series: list[Series], query: SeriesQuery) -> Iterable[Series]:
    """A whole dimension is looked for first, by the quickest way there is: a scope may have a hundred thousand series."""
    if not query.dimensions:
        return series
    whole = next((one for one in query.dimensions if one[1] is not None), None)
    likely = [one for one in series if whole in one.dimensions] if whole is not None else series
    return (one for one in likely if query.names(one))


def _dimensions_of(series: Series) -> Dimensions:
    return series.dimensions
