"""Memory that a training or a prediction frees and takes again at every step, kept by the process meanwhile."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

__all__ = ["FreedMemory", "keep_freed_memory", "return_freed_memory", "share_freed_memory"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4  # parameters of mallopt, from malloc.h
_ARENA_MAX = -8
_KEEPING = {
    _TRIM_THRESHOLD: 2**31 - 1,
    _TOP_PAD: 64 * 2**20,
    _MMAP_THRESHOLD: 32 * 2**20,  # the most glibc takes
    _MMAP_MAX: 0,  # so that what is larger is kept, too
}
_AFTERWARDS = {
    _TRIM_THRESHOLD: 64 * 2**20,
    _TOP_PAD: 128 * 2**10,
    _MMAP_THRESHOLD: 32 * 2**20,  # as it grows to
    _MMAP_MAX: 2**16,
}

_SETTLED = 2  # steps after which a step finds all the memory that it needs
_GROWTH = 1.1
_SMALL = 64 * 2**20  # bytes that are never worth it

_lock = threading.Lock()
_users = 0


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Let the C library keep freed memory for the next step or tile, and give it back at the end.

    By its defaults glibc hands every freed map of features back to the system, which clears it and hands it out again
    page by page: a fifth of a training step on a CPU, and up to two fifths of the run of a network on a large tile.
    Elsewhere than on Linux with glibc this does nothing. The memory is kept until the last of those who asked for it,
    in any thread, is done. In other threads than the main one glibc keeps only what is smaller than 32 MB.
    """
    library = _glibc()
    if library is None:
        yield
        return
    _enter(library)
    try:
        yield
    finally:
        _leave(library)


@contextmanager
def share_freed_memory() -> Iterator[None]:
    """Let threads that begin now take the memory that others have freed, so that not each keeps some for itself.

    By its defaults glibc has freed memory wait for the thread that had taken it. Where several threads go through
    many large blocks, as one that computes tiles and one that writes them, that adds up over dozens of blocks.
    Elsewhere than on Linux with glibc this does nothing.
    """
    library = _glibc()
    if library is not None:
        library.mallopt(_ARENA_MAX, 1)
    try:
        yield
    finally:
        if library is not None:
            library.mallopt(_ARENA_MAX, 0)  # as many as glibc sees fit


def return_freed_memory() -> None:
    """Give all freed memory back to the system, also what lies between pieces in use.

    Works within `keep_freed_memory`, too, and takes 10 to 30 ms where 100 MB are given back. Elsewhere than on Linux
    with glibc this does nothing.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


class FreedMemory:
    """Gives freed memory back where it has grown over many steps that need the same; ask it after each step.

    Freed memory falls into pieces over dozens of tiles that are predicted and compressed, so that large blocks don't
    fit any more and new memory is taken, though what is in use stays the same. Giving all back after each tile would
    end that, at up to a fifth of the time of a small network, as the next tile has to take it again. So this is done
    only when the memory of the process is a tenth over that of the second step after the last time: about once in ten
    tiles of 1024 x 1024 pixels.

    Examples
    --------
    >>> freed = FreedMemory()
    >>> for step in range(3):
    ...     freed.return_if_grown()
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._steps, self._needed = 0, 0

    def return_if_grown(self) -> None:
        """Count a step, and return the memory if it has grown."""
        held = self._process.memory_info().rss - self._before
        self._steps += 1
        if self._steps <= _SETTLED:
            self._needed = held
        elif held > _GROWTH * max(self._needed, _SMALL):
            return_freed_memory()
            self._steps = 0


def _enter(library: ctypes.CDLL) -> None:
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            for parameter, value in _KEEPING.items():
                library.mallopt(parameter, value)


def _leave(library: ctypes.CDLL) -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            for parameter, value in _AFTERWARDS.items():
                library.mallopt(parameter, value)
            library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None  # musl has neither
