"""Errors of a store, told so that the person knows what is kept and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_unet.data.storage import StorageError, failure_reason

__all__ = ["told_as_incomplete"]


@contextmanager
def told_as_incomplete(path: Path) -> Iterator[None]:
    """Name the store, and how to go on, where one of its files can't be written."""
    try:
        yield
    except StorageError as error:
        reason = failure_reason(error.__cause__) if isinstance(error.__cause__, OSError) else str(error).rstrip(".")
        raise StorageError(
            f"{path} can't be written: {reason}. The tiles that are done are kept; the same prediction completes it."
        ) from error
