"""The command `train` in the processes that torchrun starts: one speaks for all."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NoReturn

import typer

from napari_unet.cli.options import fail
from napari_unet.errors import UNetError
from napari_unet.learn.distributed import ALONE, Processes, join_processes, own_device, started_by_torchrun

__all__ = ["training_processes"]

_SECONDS_TO_SPEAK = 5.0  # of a process that is told to end


@contextmanager
def training_processes(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the other processes if torchrun started this one.

    What the first process writes to the terminal is shown, what the others write is not. An error is shown once,
    whichever process meets it first. At the end of the block such a process ends, and none goes before the model is
    written.

    Parameters
    ----------
    device : str
        As the person chose it.

    Yields
    ------
    processes : Processes
        For `napari_unet.fit`.
    device : str
        The device of this process.
    """
    if not started_by_torchrun():
        yield ALONE, device
        return
    processes, store = join_processes()
    signal.signal(signal.SIGTERM, _end_soon)  # torchrun ends those that are left: let one speak first
    try:
        with _only_heard(processes.leads):
            yield processes, own_device(device)
        with processes.watch(None):
            processes.any(False)  # all wait for the one that writes the model
        _end_now(0)
    except typer.Exit as ended:
        _end_now(ended.exit_code)
    except UNetError as error:
        if _first_to_speak(store):
            fail(error)
        _end_now(1)
    except Exception:
        traceback.print_exc()
        _end_now(1)


def _first_to_speak(store: Any) -> bool:
    try:
        return int(store.add("napari-unet: spoke", 1)) == 1
    except RuntimeError:  # the computer that keeps the store is lost as well
        return True


def _end_soon(number: int, frame: object) -> None:
    """End this process, but leave it the time to say what it was about to say."""
    timer = threading.Timer(_SECONDS_TO_SPEAK, os._exit, (128 + number,))
    timer.daemon = True
    timer.start()


def _end_now(code: int) -> NoReturn:
    """End this process without the usual clearing up: its exchanges can wait for the others, or abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _only_heard(speaks: bool) -> Iterator[None]:
    with ExitStack() as stack:
        if not speaks:
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(silence))
            stack.enter_context(redirect_stderr(silence))
        yield
