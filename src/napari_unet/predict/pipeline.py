"""Reading the next tiles while the network is busy with this one, and the network busy while this one is handed on.

One thread reads, one computes, and whoever asks for the results is the third. They come in the order in which the work
was put in, so that timing changes nothing but the time. At most `Pipeline.depth` pieces of work are under way.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from napari_unet.errors import is_out_of_memory

__all__ = ["OutOfMemory", "Pipeline", "Stopped"]

_ASK_AGAIN = 0.1  # seconds

Work = TypeVar("Work")
Block = TypeVar("Block")
Result = TypeVar("Result")


class Stopped(Exception):
    """Work is given up because it is not wanted any more; never leaves this package."""


class OutOfMemory(Exception):
    """The memory was not enough for a piece of work; whoever gets it goes on with smaller ones."""


class Pipeline(Generic[Work, Block, Result]):
    """Runs ``compute(read(work))`` for one piece of work after another; use it in a ``with`` statement.

    Parameters
    ----------
    read : callable
        What comes first, in a thread of its own.
    compute : callable
        What comes second; it may call `check` to give up early.
    should_stop : callable
        Asked while there is something to wait for, in the thread that calls `get`.
    may_go_on : callable or None
        Asked by `check`, in the thread that computes: it may wait there, and False gives all up; None: it may.
    inline : bool
        Whether to compute in the thread that calls `get`. In the main thread a CPU's memory is reused best (see
        `napari_unet.nets.allocator`), which is worth more there than the overlap.
    depth : int
        Pieces of work that may be under way.

    Examples
    --------
    >>> with Pipeline(str, len, should_stop=lambda: False, inline=False) as pipeline:
    ...     pipeline.put(1)
    ...     pipeline.put(222)
    ...     pipeline.get(), pipeline.get()
    ((1, 1), (222, 3))
    """

    def __init__(
        self,
        read: Callable[[Work], Block],
        compute: Callable[[Block], Result],
        *,
        should_stop: Callable[[], bool],
        inline: bool,
        depth: int = 2,
        may_go_on: Callable[[], bool] | None = None,
    ) -> None:
        self._may_go_on = may_go_on
        self._read, self._compute, self._should_stop, self._inline = read, compute, should_stop, inline
        self.depth = depth
        self._given_up = threading.Event()
        self._reader = ThreadPoolExecutor(1, "read tiles")
        self._computer = ThreadPoolExecutor(1, "compute tiles")
        self._under_way: deque[tuple[Work, Future[Block], Future[Result] | None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give up what is under way, and wait for what can't be given up."""
        self._given_up.set()
        self._reader.shutdown(cancel_futures=True)
        self._computer.shutdown(cancel_futures=True)
        self._under_way.clear()
        del self._read, self._compute  # which may know this pipeline: else nothing of it is freed at once

    @property
    def works(self) -> list[Work]:
        """What is under way, the next first."""
        return [work for work, _, _ in self._under_way]

    @property
    def has_room(self) -> bool:
        """Whether another piece of work may be put in."""
        return len(self._under_way) < self.depth

    def put(self, work: Work) -> None:
        """Begin a piece of work."""
        block = self._reader.submit(self._begin, work)
        result = None if self._inline else self._computer.submit(self._finish, block)
        self._under_way.append((work, block, result))

    def get(self) -> tuple[Work, Result]:
        """Return the work that was put in first, with its result.

        Raises
        ------
        OutOfMemory
            If the memory was not enough; the work stays under way until `take_back`.
        Stopped
            If `should_stop` said so before there was a result.
        """
        work, block, result = self._under_way[0]
        if result is None:
            self._await(block)
            done = self._finish(block)
        else:
            self._await(result)
            done = result.result()
        self._under_way.popleft()
        return work, done

    def take_back(self) -> list[Work]:
        """Give up all that is under way, and return it, the next first; then new work may be put in."""
        works = self.works
        futures: list[Future[Any]] = [block if result is None else result for _, block, result in self._under_way]
        self._under_way.clear()
        self._given_up.set()
        wait(futures)
        self._given_up.clear()
        return works

    def check(self) -> None:
        """Raise `Stopped` if what is being computed is not wanted any more."""
        if self._given_up.is_set() or (self._inline and self._should_stop()):
            raise Stopped
        if self._may_go_on is not None and not self._may_go_on():
            raise Stopped

    def _begin(self, work: Work) -> Block:
        if self._given_up.is_set():
            raise Stopped
        with _memory_errors():
            return self._read(work)

    def _finish(self, block: Future[Block]) -> Result:
        with _memory_errors():
            ready = block.result()
            self.check()
            return self._compute(ready)

    def _await(self, future: Future[Any]) -> None:
        while not wait([future], timeout=_ASK_AGAIN).done:
            if self._should_stop():
                raise Stopped


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn a lack of memory into `OutOfMemory`, without the frames that hold the memory."""
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        problem = str(error)
    raise OutOfMemory(problem)
