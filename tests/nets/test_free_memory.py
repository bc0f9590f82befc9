"""How much memory is left, read from faked and from real tables of the system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from napari_unet.nets import free_memory as module
from napari_unet.nets.free_memory import free_memory

CPU = torch.device("cpu")


def test_this_computer_has_some_memory() -> None:
    free = free_memory(CPU)
    assert free is not None
    assert 1e6 < free < 1e14


def test_linux_says_what_is_available(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:       16000 kB\nMemFree:  1000 kB\nMemAvailable:    3000 kB\n")
    assert module._linux_memory(table) == 3000 * 1024
    assert module._linux_memory(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/job/step", {"job/memory.max": "900", "job/memory.current": "200", "job/step/memory.max": "max"}, 700),
        ("0::/job", {"job/memory.max": "100", "job/memory.current": "200"}, 0),
        ("0::/job", {"job/memory.max": "max", "job/memory.current": "5"}, None),
        ("4:memory:/a", {"memory/a/memory.limit_in_bytes": "50", "memory/a/memory.usage_in_bytes": "20"}, 30),
        ("0::/../outside", {}, None),
    ],
)
def test_a_container_or_a_job_may_allow_less(
    line: str, files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    (tmp_path / "cgroup").write_text(f"3:cpuset:/\n{line}\n")
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text + "\n")
    assert module._control_group_memory(tmp_path / "cgroup", tmp_path / "fs") == expected


def test_the_strictest_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module, "_linux_memory", lambda: 100)
    monkeypatch.setattr(module, "_control_group_memory", lambda: 70)
    assert free_memory(CPU) == 70
    monkeypatch.setattr(module, "_control_group_memory", lambda: None)
    assert free_memory(CPU) == 100
    monkeypatch.setattr(module, "_linux_memory", lambda: None)
    assert free_memory(CPU) is None


def test_elsewhere_half_of_the_memory_is_taken_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.platform, "system", lambda: "Darwin")
    sizes: dict[str, Any] = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(module.os, "sysconf", sizes.__getitem__, raising=False)
    assert free_memory(CPU) == 2_048_000


def test_on_cuda_the_reserve_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert free_memory(torch.device("cuda")) == 1200
