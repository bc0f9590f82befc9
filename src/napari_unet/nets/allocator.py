"""Memory that a training frees and takes again at every step, kept by the process meanwhile."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # parameters of mallopt, from glibc's malloc.h
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 2**20, _MMAP_THRESHOLD: 32 * 2**20}  # the most glibc takes
_AFTERWARDS = {
    _TRIM_THRESHOLD: 64 * 2**20,
    _TOP_PAD: 128 * 2**10,
    _MMAP_THRESHOLD: 32 * 2**20,
}  # as it grows to


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Let the C library keep freed memory for the next step, and give it back at the end.

    By its defaults glibc hands every freed map of features back to the system, which clears it and hands it out again
    page by page: a fifth of a training step on a CPU. Elsewhere than on Linux with glibc this does nothing.
    """
    library = _glibc()
    if library is None:
        yield
        return
    for parameter, value in _KEEPING.items():
        library.mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in _AFTERWARDS.items():
            library.mallopt(parameter, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None  # musl has neither
