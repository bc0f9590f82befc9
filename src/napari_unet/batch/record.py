"""What a batch has done so far: a table for the person, and a journal by which a later run knows what is whole.

The table (``results.csv``) is written anew, in one step, after each image. The journal (``.napari-unet.jsonl``) gets a
line for each result; a line that a kill cut off is left out.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_unet.data.image_search import split_key
from napari_unet.data.storage import StorageError, atomic_path, check_writable
from napari_unet.errors import InputError

__all__ = ["BatchRecord", "BatchRow"]

_TABLE = "results.csv"
_JOURNAL = ".napari-unet.jsonl"
_FIRST_COLUMNS = ("file", "result", "state", "objects", "area", "unit")
_LAST_COLUMNS = ("seconds", "note", "error")


@dataclass(frozen=True)
class BatchRow:
    """What became of one image.

    Attributes
    ----------
    file : str
        The image.
    state : {"done", "kept", "failed"}
        ``"kept"``: the result was there already.
    result : str
        Path of the label image; empty where there is none.
    objects : int or None
        How many were found; None for a model that finds areas.
    area : float or None
        Area of all that is not background; the volume, for an image with slices.
    areas : dict of str to float
        The same for each class, where there are several.
    unit : str
        Unit of the areas: ``"um^2"``, ``"mm^3"``, ``"pixels"`` and so on.
    found : str
        What was found, in words.
    seconds : float
        How long it took.
    note : str
        What the person should know of it.
    error : str
        Why it failed.
    """

    file: str
    state: str = "done"
    result: str = ""
    objects: int | None = None
    area: float | None = None
    areas: dict[str, float] = field(default_factory=dict)
    unit: str = ""
    found: str = ""
    seconds: float = 0.0
    note: str = ""
    error: str = ""


@dataclass(frozen=True)
class _Entry:
    """A line of the journal."""

    source: str
    source_stamp: list[int]
    run: str
    results: dict[str, list[int]]
    row: BatchRow


class BatchRecord:
    """The table and the journal in one folder.

    Parameters
    ----------
    folder : Path
        Where the results are.

    Raises
    ------
    StorageError
        If nothing can be written there.
    InputError
        If another program's ``results.csv`` is in the way.
    """

    def __init__(self, folder: Path) -> None:
        self.table = folder / _TABLE
        self._journal = folder / _JOURNAL
        self.rows: dict[str, BatchRow] = {}
        self._entries: dict[str, _Entry] = {}
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; choose a folder for the results.")
        check_writable(self.table)
        self._check_table()
        self._read_journal()

    @property
    def results(self) -> set[Path]:
        """The files that earlier runs wrote here."""
        return {Path(name).absolute() for entry in self._entries.values() for name in entry.results}

    def known_row(self, image: Path) -> BatchRow | None:
        """Return what an earlier run noted of an image."""
        entry = self._entries.get(_name(image))
        return None if entry is None else entry.row

    def is_ours(self, image: Path, file: Path) -> bool:
        """Whether a run made a file of this image, and nobody changed it since."""
        entry = self._entries.get(_name(image))
        return entry is not None and entry.results.get(_name(file)) == _stamp(file)

    def is_current(self, image: Path, run: str) -> bool:
        """Whether a run with the same mark made the result of this image as it is now."""
        entry = self._entries.get(_name(image))
        return entry is not None and entry.run == run and entry.source_stamp == _stamp(split_key(image)[0])

    def add_row(self, image: Path, row: BatchRow) -> None:
        """Put what became of an image into the table, in place of what an earlier run wrote of it."""
        self.rows[_name(image)] = row

    def note_results(self, image: Path, run: str, files: Sequence[Path], row: BatchRow) -> None:
        """Write down that these files are whole.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        stamps = {_name(file): _stamp(file) for file in files}
        entry = _Entry(_name(image), _stamp(split_key(image)[0]), run, stamps, row)
        self._entries[entry.source] = entry
        try:
            with open(self._journal, "a", encoding="utf-8") as stream:
                stream.write(f"{json.dumps(asdict(entry))}\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise StorageError(f"{self._journal} can't be written: {error.strerror}.") from error

    def write_table(self) -> None:
        """Write the table in one step.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        classes = list(dict.fromkeys(name for row in self.rows.values() for name in row.areas))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_FIRST_COLUMNS, *(f"area {name}" for name in classes), *_LAST_COLUMNS])
        for row in self.rows.values():
            values = asdict(row) | {"seconds": f"{row.seconds:.2f}", "area": _short(row.area)}
            areas = [_short(row.areas.get(name)) for name in classes]
            cells = [*(values[name] for name in _FIRST_COLUMNS), *areas, *(values[name] for name in _LAST_COLUMNS)]
            writer.writerow("" if cell is None else cell for cell in cells)
        with atomic_path(self.table) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="")

    def _check_table(self) -> None:
        if not self.table.exists():
            return
        with open(self.table, encoding="utf-8", errors="replace") as stream:
            first = stream.readline()
        if not first.startswith(",".join(_FIRST_COLUMNS)):
            raise InputError(f"{self.table} is there already and not a table of a batch; choose another folder.")

    def _read_journal(self) -> None:
        if not self._journal.exists():
            return
        for line in self._journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                values = json.loads(line)
                entry = _Entry(**{**values, "row": BatchRow(**values["row"])})
            except (ValueError, TypeError, KeyError):
                continue  # cut off by a kill, or of another version: that result counts as not known
            self._entries[entry.source] = entry
            if all(Path(result).exists() for result in entry.results):
                self.rows[entry.source] = entry.row


def _name(path: Path) -> str:
    return str(path.absolute())


def _stamp(path: Path) -> list[int]:
    """Return size and time of a file, or of all files in a folder; empty if it is missing."""
    try:
        if not path.is_dir():
            status = path.stat()
            return [status.st_size, status.st_mtime_ns]
        statuses = [file.stat() for file in path.rglob("*") if file.is_file()]
    except OSError:
        return []
    return [sum(status.st_size for status in statuses), max((status.st_mtime_ns for status in statuses), default=0)]


def _short(value: Any) -> str | None:
    return None if value is None else f"{value:.6g}"
