"""What a batch tells its listener while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_unet.batch.record import BatchRow

__all__ = ["BatchEvent", "BatchFinished", "BatchNote", "BatchStarted", "ImageFinished", "ImageProgress"]


@dataclass(frozen=True)
class BatchEvent:
    """Base of all batch events.

    Attributes
    ----------
    done, total : int
        Images done so far and in all.
    seconds : float
        Seconds since the batch began.
    seconds_left : float or None
        How long the rest will take; None: not known yet.
    """

    done: int
    total: int
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class BatchStarted(BatchEvent):
    """The results have their names and the first image follows.

    Attributes
    ----------
    table : Path
        Where the table of the results is written.
    """

    table: Path


@dataclass(frozen=True)
class ImageProgress(BatchEvent):
    """An image is being predicted.

    Attributes
    ----------
    image : Path
        The image.
    fraction : float
        How far it is, from 0 to 1.
    """

    image: Path
    fraction: float


@dataclass(frozen=True)
class ImageFinished(BatchEvent):
    """An image is done, or failed.

    Attributes
    ----------
    image : Path
        The image.
    row : BatchRow
        What became of it.
    """

    image: Path
    row: BatchRow


@dataclass(frozen=True)
class BatchNote(BatchEvent):
    """Something that the person should know; the batch goes on.

    Attributes
    ----------
    message : str
        A sentence.
    """

    message: str


@dataclass(frozen=True)
class BatchFinished(BatchEvent):
    """All images were gone through, or the caller stopped it.

    Attributes
    ----------
    stopped : bool
        Whether the caller stopped it before the last image.
    """

    stopped: bool
