"""Where a network runs, how it runs fastest there, and how that is said to a person."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from napari_unet.errors import DeviceError

__all__ = ["Device", "choose_device"]


@dataclass(frozen=True)
class Device:
    """A device and the number format that is fast on it.

    Attributes
    ----------
    torch_device : torch.device
        For ``tensor.to``.
    description : str
        The device in words.
    low_precision : torch.dtype or None
        16-bit format for the convolutions where the hardware computes in it; None: one format throughout.
    double : bool
        Whether networks compute in float64, whatever the format of what they read.
    """

    torch_device: torch.device
    description: str
    low_precision: torch.dtype | None
    double: bool = False

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which a network is run."""
        if self.low_precision is None:
            return nullcontext()
        return torch.autocast(self.torch_device.type, self.low_precision)

    def place(self, network: nn.Module) -> nn.Module:
        """Bring a network here, in the memory format that is fastest."""
        if self.double:
            network.double().register_forward_pre_hook(_read_float64)
        flat = any(isinstance(module, nn.Conv2d) for module in network.modules())
        return network.to(self.torch_device, memory_format=self._memory_format(2 if flat else 3))  # type: ignore[call-overload, no-any-return]

    def tensor(self, array: Any) -> torch.Tensor:
        """Bring an array here; images (N, C, \\*space) in the memory format that is fastest."""
        tensor = torch.as_tensor(array)
        if self.torch_device.type == "cuda" and tensor.device.type == "cpu":
            tensor = tensor.pin_memory()  # so that the copy need not be waited for
        if tensor.ndim in (4, 5) and tensor.is_floating_point():
            memory_format = self._memory_format(tensor.ndim - 2)
            return tensor.to(self.torch_device, non_blocking=True, memory_format=memory_format)
        return tensor.to(self.torch_device, non_blocking=True)

    def fetch(self, tensor: torch.Tensor) -> Callable[[], npt.NDArray[Any]]:
        """Begin to bring a result to the computer; the function that is returned waits for it.

        Meanwhile a GPU goes on with what it is given next.
        """
        if self.torch_device.type != "cuda":
            array: npt.NDArray[Any] = tensor.cpu().numpy()
            return lambda: array
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        copy.copy_(tensor, non_blocking=True)
        arrived = torch.cuda.current_stream(self.torch_device).record_event()

        def wait() -> npt.NDArray[Any]:
            arrived.synchronize()
            result: npt.NDArray[Any] = copy.numpy().copy()  # whoever keeps it shall not keep memory of the driver
            return result

        return wait

    def _memory_format(self, ndim: int) -> torch.memory_format:
        """Channels last; for volumes on CPUs only, where it was measured to be faster."""
        if ndim == 2:
            return torch.channels_last
        return torch.channels_last_3d if self.torch_device.type == "cpu" else torch.preserve_format


def _read_float64(network: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(argument.double() for argument in arguments)


def choose_device(name: str = "auto", *, precision: str = "auto") -> Device:
    """Choose the device to run on.

    Parameters
    ----------
    name : str
        ``"auto"`` (CUDA if there is one, else Apple's MPS, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or
        ``"mps"``.
    precision : {"auto", "float32", "float64"}
        ``"auto"`` uses 16-bit numbers where the hardware is faster with them.

    Raises
    ------
    DeviceError
        If that device is not there.

    Examples
    --------
    >>> choose_device("cpu", precision="float32").low_precision is None
    True
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"There is no device called {name!r}; use 'auto', 'cpu', 'cuda' or 'mps'.") from None
    if device.type == "cuda":
        if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
            raise DeviceError(f"The device {name!r} was asked for, but PyTorch finds no such NVIDIA GPU; use 'auto'.")
        words = f"GPU {torch.cuda.get_device_name(device)}"
        low = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError(
                "The device 'mps' was asked for, but this is no Mac with a GPU that PyTorch can use; use 'auto'."
            )
        if precision == "float64":
            raise DeviceError("The GPU of a Mac can't compute in float64; choose the device 'cpu'.")
        words, low = f"GPU of this Mac ({platform.processor() or 'MPS'})", None
    elif device.type == "cpu":
        low = torch.bfloat16 if _cpu_computes_bfloat16() else None
        words = f"CPU, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    else:
        raise DeviceError(f"The device {name!r} is not supported; use 'auto', 'cpu', 'cuda' or 'mps'.")
    low = low if precision == "auto" else None
    format_in_words = str(low).removeprefix("torch.") if low else "float64" if precision == "float64" else ""
    return Device(device, ", ".join(filter(None, (words, format_in_words))), low, precision == "float64")


def _cpu_computes_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX on x86, BF16 on Arm)."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # older PyTorch can't tell: float32 then
    able: dict[str, Any] = capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16") or able.get("arm_bf16"))
