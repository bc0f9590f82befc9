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
    >>> table = EvaluationTable((EvaluationRow("a", {"dice": 0.5, "pixels": 4}), EvaluationRow("b", {"dice": 1.0})))
    >>> table.columns, table.means["dice"]
    (('dice', 'pixels'), 0.75)
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

    def to_csv(self) -> str:
        """Return the table as comma-separated values with a line of names; what is not defined stays empty."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["name", *self.columns])
        for name, values in [*((row.name, row.values) for row in self.rows), (_SUMMARY, self.means)]:
            writer.writerow([name, *(_plain(values.get(column, math.nan), "") for column in self.columns)])
        return stream.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain values for JSON; what is not defined is None."""
        return {
            "rows": [
                {"name": row.name, "values": {name: _plain(value, None) for name, value in row.values.items()}}
                for row in self.rows
            ],
            "means": {name: _plain(value, None) for name, value in self.means.items()},
        }


def _plain(value: float, undefined: Any) -> Any:
    """Return a number as it is written: whole ones without a fraction."""
    if math.isnan(value):
        return undefined
    return int(value) if value.is_integer() and abs(value) > 1 else value


def format_value(name: str, value: float) -> str:
    """Write the value of a metric for a person.

    Examples
    --------
    >>> format_value("dice", 0.87654), format_value("pixels", 65536.0), format_value("warping error", 0.000353)
    ('0.877', '65,536', '0.000353')
    """
    if math.isnan(value):
        return "–"
    if name in _COUNTS:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.0095 else f"{value:.3g}"
