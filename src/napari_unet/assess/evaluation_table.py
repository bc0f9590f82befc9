"""The table of an evaluation: rows of metrics, their means, and its forms as CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

__all__ = ["EvaluationRow", "EvaluationTable", "format_value"]

_COUNTS = frozenset(
    {"pixels", "reference objects", "predicted objects", "missed", "false", "split", "merged"}
)  # added up, where the others are averaged
_SUMMARY = "mean (sum of counts)"


@dataclass(frozen=True)
class EvaluationRow:
    """The metrics of one frame.

    Attributes
    ----------
    name : str
        What the frame is called.
    values : mapping of str to float
        By the name of the metric; NaN where it is not defined, as sensitivity without foreground.
    """

    name: str
    values: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))


@dataclass(frozen=True)
class EvaluationTable:
    """Rows of metrics.

    Attributes
    ----------
    rows : tuple of EvaluationRow
        One for each frame.

    Examples
    --------
    >>> table = EvaluationTable((EvaluationRow("a", {"Dice": 0.5, "pixels": 4}), EvaluationRow("b", {"Dice": 1.0})))
    >>> table.columns, table.means["Dice"]
    (('Dice', 'pixels'), 0.75)
    """

    rows: tuple[EvaluationRow, ...]

    @classmethod
    def join(cls, tables: Iterable[EvaluationTable]) -> EvaluationTable:
        """Put the rows of several tables under each other."""
        return cls(tuple(row for table in tables for row in table.rows))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The metrics, in the order in which they come up."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.values))

    @cached_property
    def means(self) -> Mapping[str, float]:
        """For each metric the mean of the rows for which it is defined; counts are added up."""
        means = {}
        for name in self.columns:
            values = [row.values[name] for row in self.rows if not math.isnan(row.values.get(name, math.nan))]
            total = math.fsum(values)
            means[name] = math.nan if not values else total if name in _COUNTS else total / len(values)
        return MappingProxyType(means)

    def to_csv(self, separator: str = ",") -> str:
        """Return the table as lines of separated values, the first with the names; what is not defined stays empty."""
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        writer.writerow(["name", *self.columns])
        for name, values in [*((row.name, row.values) for row in self.rows), (_SUMMARY, self.means)]:
            cells = [_plain(column, values.get(column, math.nan)) for column in self.columns]
            writer.writerow([name, *("" if cell is None else cell for cell in cells)])
        return stream.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain values for JSON; what is not defined is None."""
        rows = [{"name": row.name, "values": _plain_values(row.values)} for row in self.rows]
        return {"rows": rows, "means": _plain_values(self.means)}


def _plain_values(values: Mapping[str, float]) -> dict[str, float | int | None]:
    return {name: _plain(name, value) for name, value in values.items()}


def _plain(name: str, value: float) -> float | int | None:
    """Return a value as it is written: counts as whole numbers, what is not defined as None."""
    if math.isnan(value):
        return None
    return int(value) if name in _COUNTS else value


def format_value(name: str, value: float) -> str:
    """Write the value of a metric for a person.

    Examples
    --------
    >>> format_value("Dice", 0.87654), format_value("pixels", 65536.0), format_value("warping error", 0.000353)
    ('0.877', '65,536', '0.000353')
    """
    if math.isnan(value):
        return "-"
    if name in _COUNTS:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.0095 else f"{value:.3g}"
