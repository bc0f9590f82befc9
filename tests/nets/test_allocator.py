"""Keeping freed memory during a training, in a fresh process, and giving it back when it grows."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from napari_unet.nets import allocator

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")

_CODE = """
import resource
import torch
from napari_unet.nets.allocator import keep_freed_memory

def pages_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    maps = [torch.ones(2_000_000) for _ in range(30)]  # 240 MB
    del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as table:
        return int(table.read().split()[1]) * resource.getpagesize() // 1_000_000

before = resident()
try:
    with keep_freed_memory():
        pages = [pages_of_a_step() for _ in range(4)]
        kept = resident()
        raise ValueError
except ValueError:
    print(pages[0], pages[-1], kept - before, resident() - before)
"""


_PIECES = """
import psutil
import torch
from napari_unet.nets.allocator import keep_freed_memory, return_freed_memory

def resident():
    return psutil.Process().memory_info().rss // 1_000_000

with keep_freed_memory():
    before = resident()
    blocks = [torch.ones(250_000) for _ in range(200)]  # 200 MB
    del blocks[::2]
    kept = resident()
    return_freed_memory()
    left = resident()
    print(kept - before, left - before, sum(float(block.sum()) for block in blocks) == 25_000_000)
"""


@on_linux
def test_a_step_takes_the_memory_of_the_one_before_and_the_end_gives_it_back() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=60, check=True)
    first, last, kept, left = map(int, done.stdout.split())
    assert first > 20_000
    assert last < 0.1 * first
    assert kept > 150
    assert left < 50


@on_linux
def test_freed_pieces_between_others_are_given_back_though_freed_memory_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", _PIECES], capture_output=True, text=True, timeout=60, check=True)
    kept, left, whole = done.stdout.split()
    assert int(kept) > 180
    assert 90 < int(left) < 120
    assert whole == "True"


def test_memory_is_returned_when_it_grows_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[int] = []
    memory = SimpleNamespace(rss=500)
    monkeypatch.setattr(allocator.psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: memory))
    monkeypatch.setattr(allocator, "return_freed_memory", lambda: returned.append(memory.rss - 500))
    freed = allocator.FreedMemory()
    for held in (100, 200, 210, 219, 221, 120, 230, 250, 254):  # MB over the start
        memory.rss = 500 + held * 2**20
        freed.return_if_grown()
    assert returned == [221 * 2**20, 254 * 2**20]


def test_without_glibc_nothing_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("the C library was asked"))
    allocator.return_freed_memory()
