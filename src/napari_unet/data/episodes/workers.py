"""Episodes drawn in processes beside the one that trains."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from napari_unet.data.episodes.episode import Episode
from napari_unet.data.episodes.stream import LANES, EpisodeStream
from napari_unet.errors import InputError, UNetError

__all__ = ["episodes_from_workers"]

_AHEAD = 12  # episodes that each process draws ahead


@contextmanager
def episodes_from_workers(stream: EpisodeStream, processes: int, first: int = 0) -> Iterator[Iterator[Episode]]:
    """Draw episodes in several processes, in the same order as in one; they end with the block.

    Parameters
    ----------
    stream : EpisodeStream
        Draws them.
    processes : int
        0 to `LANES`; 0: they are drawn where they are used, when they are.
    first : int
        Number of the first one.

    Yields
    ------
    iterator of Episode
        Endless.

    Raises
    ------
    InputError
        If the number of processes is out of range.
    UNetError
        While the episodes are read, if a process failed.
    """
    if not 0 <= processes <= LANES:
        raise InputError(f"Expected `processes` to be 0 to {LANES}, but got {processes}.")
    if processes == 0:
        yield stream.episodes(first=first)
        return
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(processes)]
    workers = [
        context.Process(target=_draw, args=(stream, range(k, LANES, processes), first, sender), daemon=True)
        for k, (_, sender) in enumerate(pipes)
    ]
    try:
        for worker, (_, sender) in zip(workers, pipes, strict=True):
            worker.start()
            sender.close()  # so that the pipe ends with the process
        yield _in_order([receiver for receiver, _ in pipes], first)
    finally:
        for receiver, sender in pipes:
            receiver.close()
            sender.close()
        for worker in workers:
            if worker.pid is not None:
                worker.terminate()
                worker.join()
                worker.close()


def _in_order(receivers: Sequence[Connection], first: int) -> Iterator[Episode]:
    """Take each episode from the process that has its lane."""
    while True:
        try:
            received: Episode | str = receivers[first % LANES % len(receivers)].recv()
        except EOFError:
            received = "it ended before its time; perhaps the memory was not enough, so use fewer processes."
        if isinstance(received, str):
            raise UNetError(f"A process that draws images failed: {received}")
        yield received
        first += 1


def _draw(stream: EpisodeStream, lanes: Sequence[int], first: int, sender: Connection) -> None:
    """Draw ahead in a thread and send until nobody reads any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the process that trains ends this one
    drawn: queue.Queue[Episode | str] = queue.Queue(_AHEAD)
    threading.Thread(target=_draw_ahead, args=(stream, lanes, first, drawn), daemon=True).start()
    with suppress(BrokenPipeError, ConnectionResetError):
        while True:
            sender.send(drawn.get())


def _draw_ahead(stream: EpisodeStream, lanes: Sequence[int], first: int, drawn: queue.Queue[Episode | str]) -> None:
    """Fill a queue with episodes; an error ends it, in words."""
    try:
        for episode in stream.episodes(lanes, first):
            drawn.put(episode)
    except Exception as error:
        drawn.put(f"{type(error).__name__}: {error}")
