"""A file in a session's folder that says which program works on it, so that others leave it alone.

Numbers of processes are given out again after a crash, so the time at which the process began counts as well. Whether a
program on another computer lives can't be asked; there the file's age tells, which its owner keeps young.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from napari_unet.data.storage import atomic_path

__all__ = ["is_locked", "keep_young", "unlock", "write_lock"]

_NAME = "lock.json"
_OLD_AFTER_SECONDS = 300.0
_SAME_SECONDS = 2.0


def write_lock(folder: Path) -> None:
    """Say that this process works on a session.

    Raises
    ------
    napari_unet.data.storage.StorageError
        If it can't be written.
    """
    content = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    with atomic_path(folder / _NAME) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def keep_young(folder: Path) -> None:
    """Say that the owner of the lock still lives; call it every minute or so."""
    try:
        os.utime(folder / _NAME)
    except OSError:
        return  # somebody removed the folder: the next save makes it again


def unlock(folder: Path) -> None:
    """Take the lock off."""
    try:
        (folder / _NAME).unlink(missing_ok=True)
    except OSError:
        return  # it ends with the process


def is_locked(folder: Path) -> bool:
    """Whether a living program works on a session."""
    file = folder / _NAME
    try:
        young = time.time() - file.stat().st_mtime < _OLD_AFTER_SECONDS
        content = json.loads(file.read_text(encoding="utf-8"))
        host, pid, started = str(content["host"]), int(content["pid"]), float(content["started"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return young if host != socket.gethostname() else _lives(pid, started)


def _lives(pid: int, started: float) -> bool:
    try:
        process: Any = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(abs(process.create_time() - started) < _SAME_SECONDS)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
