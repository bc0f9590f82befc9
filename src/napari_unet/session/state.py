"""A session as it is in memory, when it is to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_unet.session.document import SessionDocument

__all__ = ["ModelToKeep", "SessionState", "held_key"]


def held_key(key: str) -> str:
    """Return the key of the mask that tells what correction tools painted in strokes.

    Examples
    --------
    >>> held_key("s1")
    's1-held'
    """
    return f"{key}-held"


@dataclass(frozen=True)
class ModelToKeep:
    """A model that belongs to a session.

    Attributes
    ----------
    version : int
        Another number for every model and every training of it.
    name : str
        What the person calls it.
    write : callable
        Writes it to a path.
    is_current : callable
        Whether the model is still the one of this version; asked after it was written.
    """

    version: int
    name: str
    write: Callable[[Path], None]
    is_current: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class SessionState:
    """A session as it is now, in memory.

    Attributes
    ----------
    document : SessionDocument
        What it says about itself; names of files are the writer's and need not be given.
    labels : mapping of str to array-like
        The labels arrays by the key of their entry: the living ones, not copies; and by `held_key` their masks.
    images : mapping of str to array-like
        The images' arrays by key; those whose layer is gone are missing.
    model : ModelToKeep or None
        The model.
    copy_images : bool
        Whether images that have no file are kept as a copy, up to 200 MB each.
    """

    document: SessionDocument = field(default_factory=SessionDocument)
    labels: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Any] = field(default_factory=dict)
    model: ModelToKeep | None = None
    copy_images: bool = True
