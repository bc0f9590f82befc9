"""Keeping freed memory during a training, in a fresh process: it takes no new pages, and gives all back at the end."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")

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


def test_a_step_takes_the_memory_of_the_one_before_and_the_end_gives_it_back() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=60, check=True)
    first, last, kept, left = map(int, done.stdout.split())
    assert first > 20_000
    assert last < 0.1 * first
    assert kept > 150
    assert left < 50
