"""Memory that a training or a prediction frees and takes again at every step, kept by the process meanwhile."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from torch import nn

__all__ = ["give_back_freed_memory", "keep_freed_memory", "limit_freed_memory", "share_freed_memory"]

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

_MOST_HELD = 1.6  # times what was in use at most
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


def give_back_freed_memory() -> None:
    """Give the freed memory that is kept back to the system now, as from time to time in something that runs for long.

    It falls into pieces, and new memory is taken for what fits into none of them. Giving back takes some hundredths
    of a second, and the next step or tile has the system clear what it takes. Elsewhere than on Linux with glibc this
    does nothing.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


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


@contextmanager
def limit_freed_memory(network: nn.Module) -> Iterator[None]:
    """Give freed memory back while a network runs, whenever too much of it is kept.

    Freed memory falls into pieces over dozens of tiles that are read, predicted and compressed: large maps of features
    don't fit any more, and new memory is taken for them, though what is in use stays the same. Giving all back after
    each tile costs a fifth of the time and leaves what one tile breaks into pieces. So the memory is looked at after
    each layer, and given back where the process holds far more than was ever in use. Elsewhere than on Linux with
    glibc 2.33 or later this does nothing.

    Parameters
    ----------
    network : torch.nn.Module
        It runs on the CPU, in this process.
    """
    library = _glibc()
    if library is None or not hasattr(library, "mallinfo2"):
        yield
        return
    limit = _MemoryLimit(library)
    layers = [module for module in network.modules() if not any(module.children())]
    hooks = [layer.register_forward_hook(lambda *_: limit.keep()) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _MemoryLimit:
    """Keeps the memory that the process has taken near to what it needs."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.mallinfo2.restype = _Mallinfo2
        self._process = psutil.Process()
        self._before, self._in_use_before = self._held(), self._in_use()
        self._needed, self._other = 0, _SMALL

    def keep(self) -> None:
        """Give freed memory back if the limit is passed."""
        if self._is_passed():
            self._needed = max(self._needed, self._in_use() - self._in_use_before)
            if self._is_passed():
                self._library.malloc_trim(0)
                left = self._held() - self._before - (self._in_use() - self._in_use_before)
                self._other = max(self._other, left)  # of Python, say, which would have it passed over and over

    def _is_passed(self) -> bool:
        return self._held() - self._before > _MOST_HELD * self._needed + self._other

    def _held(self) -> int:
        """Return the bytes in pages of the process, without those of files."""
        memory = self._process.memory_info()
        return int(memory.rss - memory.shared)

    def _in_use(self) -> int:
        """Return the bytes that are taken and not freed."""
        found = self._library.mallinfo2()
        return int(found.uordblks + found.hblkhd)


class _Mallinfo2(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


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
