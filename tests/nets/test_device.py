"""Where a network runs: the choice, the words for it, and what counts as too little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_unet.errors import DeviceError, is_out_of_memory
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device, choose_device
from napari_unet.nets.registry import build_network


@pytest.fixture
def fake_hardware(monkeypatch: pytest.MonkeyPatch) -> Any:
    def pretend(*, cuda: int = 0, mps: bool = False, cpu: dict[str, bool] | None = None, bfloat16: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA Test")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu or {}, raising=False)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(1, True, "cuda"), (2, False, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_the_fastest_device_is_chosen(fake_hardware: Any, cuda: int, mps: bool, expected: str) -> None:
    fake_hardware(cuda=cuda, mps=mps)
    assert choose_device("auto").torch_device.type == expected
    assert choose_device("cpu").torch_device.type == "cpu"  # whatever else there is


def test_devices_are_said_in_words(fake_hardware: Any) -> None:
    fake_hardware(cuda=2, mps=True, cpu={"amx_bf16": True})
    assert choose_device("cuda:1").description == "GPU NVIDIA Test, bfloat16"
    assert choose_device("cuda", precision="float32").description == "GPU NVIDIA Test"
    assert choose_device("mps").description.startswith("GPU of this Mac")
    torch.set_num_threads(2)
    assert choose_device("cpu").description == "CPU, 2 threads, bfloat16"
    torch.set_num_threads(1)
    assert choose_device("cpu", precision="float32").description == "CPU, 1 thread"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "cuda:7", "meta", "xpu", "gpu", "", "cuda:x", "CPU!"])
def test_a_device_that_is_not_there_is_refused_by_name(fake_hardware: Any, name: str) -> None:
    fake_hardware(cuda=0)
    with pytest.raises(DeviceError, match="use 'auto'") as caught:
        choose_device(name)
    assert repr(name) in str(caught.value)
    fake_hardware(cuda=1)
    if name == "cuda:7":
        with pytest.raises(DeviceError, match="'cuda:7'"):
            choose_device(name)


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"arm_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx2": True, "amx_bf16": False}, None),
        ({}, None),
    ],
)
def test_bfloat16_on_the_cpu_only_where_the_hardware_has_it(
    fake_hardware: Any, able: dict[str, bool], expected: torch.dtype | None
) -> None:
    fake_hardware(cpu=able)
    assert choose_device("cpu").low_precision is expected
    assert choose_device("cpu", precision="float32").low_precision is None


def test_old_gpus_compute_in_float16_and_macs_in_float32(fake_hardware: Any) -> None:
    fake_hardware(cuda=1, bfloat16=False, mps=True)
    assert choose_device("cuda").low_precision is torch.float16
    assert choose_device("mps").low_precision is None


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("low", [None, torch.bfloat16])
def test_placing_a_network_changes_its_layout_but_not_its_result(ndim: int, low: torch.dtype | None) -> None:
    network = build_network(ModelConfig(ndim=ndim, features=4, depth=2)).eval()
    x = torch.randn(2, 1, *(16,) * ndim)
    with torch.no_grad():
        expected = network(x)
        device = Device(torch.device("cpu"), "CPU", low)
        placed = device.place(network)
        with device.autocast():
            result = placed(device.tensor(x))
    assert all(p.dtype == torch.float32 for p in placed.parameters())
    assert result.dtype == (low or torch.float32)
    tolerance = 1e-5 if low is None else 0.05 * float(expected.abs().max())
    torch.testing.assert_close(result.float(), expected, atol=tolerance, rtol=0)


def test_images_lie_channels_last_and_labels_stay_what_they_are() -> None:
    device = Device(torch.device("cpu"), "CPU", None)
    image = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    tensor = device.tensor(image)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(tensor.numpy(), image)
    labels = np.arange(2 * 8 * 8, dtype=np.int64).reshape(2, 8, 8)
    assert device.tensor(labels).dtype == torch.int64
    assert torch.equal(device.tensor(torch.from_numpy(labels)), torch.from_numpy(labels))
    volume = np.random.default_rng(0).random((1, 2, 4, 8, 8), np.float32)
    assert device.tensor(volume).is_contiguous(memory_format=torch.channels_last_3d)
    np.testing.assert_array_equal(device.tensor(volume).numpy(), volume)


def _try(action: Any) -> BaseException:
    try:
        action()
    except (RuntimeError, MemoryError) as error:
        return error
    raise AssertionError("no error")


def test_too_little_memory_is_told_from_other_errors() -> None:
    assert is_out_of_memory(_try(lambda: torch.empty(2**60, dtype=torch.uint8)))  # the real one, of the CPU
    assert is_out_of_memory(_try(lambda: np.zeros(2**59, np.uint8)))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not is_out_of_memory(_try(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3)))
    assert not is_out_of_memory(RuntimeError("size mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
def test_on_a_gpu_the_result_is_that_of_the_cpu() -> None:
    network = build_network(ModelConfig(features=4, depth=2)).eval()
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        expected = network(x)
        device = choose_device("cuda", precision="float32")
        result = device.place(network)(device.tensor(x)).cpu()
    assert "GPU" in device.description
    torch.testing.assert_close(result, expected, atol=1e-3, rtol=1e-3)
