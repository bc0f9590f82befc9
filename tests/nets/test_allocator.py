"""Keeping freed memory during a training, in a fresh process, and giving it back when it grows."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torch import nn

from napari_unet.nets import allocator

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")

_CODE = """
import resource
import torch
from napari_unet.nets.allocator import give_back_freed_memory, keep_freed_memory

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
        give_back_freed_memory()
        given = resident()
        pages_of_a_step()
        raise ValueError
except ValueError:
    print(pages[0], pages[-1], kept - before, given - before, resident() - before)
"""


_PIECES = """
import psutil
import torch
from napari_unet.nets.allocator import keep_freed_memory, limit_freed_memory

def resident():
    return psutil.Process().memory_info().rss // 1_000_000

network = torch.nn.Identity()
with keep_freed_memory(), limit_freed_memory(network):
    before = resident()
    blocks, walls = [], []
    for _ in range(600):  # 600 MB
        blocks.append(torch.ones(250_000))
        walls.append(torch.ones(1_000))
    network(walls[0])
    blocks = blocks[0]
    network(walls[0])
    kept = resident()
    blocks = [torch.ones(375_000) for _ in range(400)]  # 600 MB, none of which fits between the walls
    grown = resident()
    network(walls[0])
    print(kept - before, grown - before, resident() - before, sum(float(block.sum()) for block in blocks))
print(len(network._forward_hooks))
"""


@on_linux
def test_a_step_takes_the_memory_of_the_one_before_and_the_end_gives_it_back() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=60, check=True)
    first, last, kept, given, left = map(int, done.stdout.split())
    assert first > 20_000
    assert last < 0.1 * first
    assert kept > 150
    assert given < 50
    assert left < 50


@on_linux
def test_freed_pieces_are_given_back_where_far_more_is_held_than_was_in_use() -> None:
    done = subprocess.run([sys.executable, "-c", _PIECES], capture_output=True, text=True, timeout=60, check=True)
    kept, grown, left, total, hooks = map(float, done.stdout.split())
    assert kept > 560  # no more than was in use: it is kept
    assert grown > 1030
    assert left < 700
    assert total == 400 * 375_000
    assert hooks == 0


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("the C library was asked"))
    network = nn.Identity()
    allocator.give_back_freed_memory()
    with allocator.limit_freed_memory(network):
        assert not network._forward_hooks
