"""Keeping freed memory during a training: fewer pages taken anew, and the usual behaviour afterwards."""

from __future__ import annotations

import sys

import pytest
import torch

from napari_unet.nets.allocator import keep_freed_memory

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")


def _pages_of_a_step() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    maps = [torch.ones(2_000_000) for _ in range(8)]
    del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_step_takes_the_memory_of_the_one_before() -> None:
    with keep_freed_memory():
        pages = [_pages_of_a_step() for _ in range(4)]
    assert pages[-1] < 1000 < 15_000 < pages[0]


def test_memory_is_given_back_at_the_end_and_after_an_error() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as table:
            return int(table.read().split()[1]) * resource.getpagesize()

    def fail_after_a_step() -> int:
        with keep_freed_memory():
            maps = [torch.ones(2_000_000) for _ in range(30)]  # 240 MB
            del maps
            kept.append(resident())
            raise ValueError("stop")

    kept: list[int] = []
    before = resident()
    with pytest.raises(ValueError, match="stop"):
        fail_after_a_step()
    assert kept[0] - before > 150e6
    assert resident() - before < 50e6
