"""How much memory is left for a network: on the GPU, or in the computer."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import torch

__all__ = ["free_memory"]

_CONTROL_GROUP_FILES = (  # limit and use of the process's group: version 2, then version 1
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a network can still have on a device; None if that can't be told.

    On CUDA: what is free on the GPU and what PyTorch holds in reserve. On a Mac's GPU: what the system recommends, less
    what is in use. On the CPU: what Linux or Windows calls available, at most what the control group of the process (a
    container, a job of a cluster) still allows; on other systems half of the memory, for there it can't be asked for
    without another package.
    """
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + reserve
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    if platform.system() == "Windows":
        return _windows_memory()
    if platform.system() == "Linux":
        known = [bytes_ for bytes_ in (_linux_memory(), _control_group_memory()) if bytes_ is not None]
        return min(known) if known else None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError):
        return None


def _linux_memory(table: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _control_group_memory(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return what the control groups of this process leave to it, the strictest one counting."""
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        return None
    left: list[int] = []
    for _, controllers, name in lines:
        if controllers not in ("", "memory"):
            continue
        top = root / controllers
        folder = top / name.lstrip("/")
        for place in (folder, *folder.parents):
            left.extend(_left_in_group(place))
            if place == top:
                break
    return min(left, default=None)


def _left_in_group(folder: Path) -> list[int]:
    for limit, used in _CONTROL_GROUP_FILES:
        try:
            return [max(0, int((folder / limit).read_text()) - int((folder / used).read_text()))]
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return []


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("page_file_total", ctypes.c_uint64),
        ("page_file_available", ctypes.c_uint64),
        ("virtual_total", ctypes.c_uint64),
        ("virtual_available", ctypes.c_uint64),
        ("virtual_extended", ctypes.c_uint64),
    )


def _windows_memory() -> int | None:
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    windows = getattr(ctypes, "windll", None)
    if windows is None or not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.available)
