"""Arrays that are read from their file piece by piece, and damage told in one sentence."""

from __future__ import annotations

import math
import struct
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from napari_unet.data.calibration import Calibration
from napari_unet.errors import FileFormatError, InputError

__all__ = ["Content", "FileArray", "reports_damage"]

Content = tuple[Any, str, Calibration]
"""What a reader gives: an array, a letter for each of its axes, and where its pixels lie."""

_DAMAGE = (
    OSError, ValueError, KeyError, IndexError, TypeError, EOFError, RuntimeError, AttributeError, ArithmeticError,
    struct.error, zlib.error, zipfile.BadZipFile, ElementTree.ParseError,
)  # fmt: skip


@contextmanager
def reports_damage(name: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one sentence about that file."""
    try:
        yield
    except (FileFormatError, FileNotFoundError):
        raise
    except InputError as error:
        raise FileFormatError(f"{name} can't be used: {error}") from error
    except MemoryError as error:
        raise FileFormatError(
            f"{name} does not fit into memory; save it as zarr, which is read piece by piece."
        ) from error
    except ImportError as error:
        raise FileFormatError(
            f"{name} can't be read: {error}. Save it uncompressed, or install that package."
        ) from error
    except PermissionError as error:
        raise FileFormatError(f"{name} can't be read: you have no permission.") from error
    except _DAMAGE as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise FileFormatError(f"{name} can't be read, it may be damaged: {words[:200].rstrip('.')}.") from error


class FileArray:
    """An array in a file that is read piece by piece; damage found on the way is told as a `FileFormatError`.

    Parameters
    ----------
    array : array-like
        What reads when it is indexed: a zarr array, for example.
    name : str
        What messages call the file.
    close : callable, optional
        Called when the array is no longer used.
    """

    def __init__(self, array: Any, name: str, close: Callable[[], None] | None = None) -> None:
        self._array = array
        self._name = name
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize
        self.chunks: tuple[int, ...] = tuple(getattr(array, "chunks", self.shape))
        if close is not None:
            weakref.finalize(self, close)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        with reports_damage(self._name):
            return np.asarray(self._array[index])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"FileArray({self._name!r}, shape={self.shape}, dtype={self.dtype})"
