"""Training steps per second: ours, a plain PyTorch loop on the same network, and MONAI's UNet of the same size.

Each way runs in a process of its own, and all take their steps in turns.

- ours: what `napari_unet.fit` does for a step: crops, augmentation, loss, backward pass, clipping, AdamW, average of
  the weights; 16-bit convolutions where the device has them, channels last.
- ours, ready-made crops: the same without drawing and augmenting crops.
- plain loop: the same network definition, loss and optimiser in float32 and PyTorch's own memory layout; its crops are
  ready-made and stay on the device; no augmentation, no clipping, no average.
- MONAI's UNet: as its documentation makes and trains it (residual units, strides of 2, instance normalisation,
  DiceCELoss, Adam, float32) with the channels doubling at each level from the width that gives as many weights. It is
  compared with our network of the same design, `residual`, at the same width: such networks halve the image in their
  first layer and compute far less for each weight than a plain U-Net, whose row is there as well.
- ours, residual network: what that is compared with, with all that "ours" does.
- MONAI's BasicUNet: its plain U-Net, with the widths of ours and its upsampling by transposed convolution, trained as
  its UNet is.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.reporting import arguments, interleaved, report
from napari_unet.data.axes import ImageLayout
from napari_unet.data.crops import AnnotatedFrame, Batch, CropSampler
from napari_unet.data.intensity import FrameReader, IntensityRange
from napari_unet.data.synthetic import cells
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.losses import segmentation_loss
from napari_unet.learn.trainer import Trainer
from napari_unet.nets.allocator import keep_freed_memory
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device, choose_device
from napari_unet.nets.registry import build_network

_CLASSES = 2
_OURS, _READY, _PLAIN = "ours", "ours, ready-made crops", "plain PyTorch loop"
_RESIDUAL = "ours, residual network"
_MONAI = "MONAI's UNet"
_BASIC = "MONAI's BasicUNet"
_GREY_VALUES = 20_000.0  # of the synthetic cells


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--ndim", type=int, default=2, choices=(2, 3))
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=256, help="side of a crop in pixels")
    parser.add_argument("--rounds", type=int, default=7, help="steps timed of each way")
    options = parser.parse_args(argv)
    if options.quick:
        options.features, options.depth, options.batch, options.crop, options.rounds = 4, 2, 2, 32, 2
    torch.set_num_threads(options.threads)  # said in the table
    names = [_OURS, _READY, _PLAIN]
    if importlib.util.find_spec("monai") is None:
        print("MONAI is not installed: its rows are left out (pip install monai==1.6.1).")
    else:
        names += [_RESIDUAL, _MONAI, _BASIC]
    with ExitStack() as stack:
        apart = {name: stack.enter_context(_InProcess(name, options)) for name in names}
        seconds = interleaved({name: way.step for name, way in apart.items()}, options.rounds, warm_up=2)
        rows = [_row(name, seconds, apart[name].weights) for name in names]
    space = " x ".join([str(options.crop)] * options.ndim)
    title = f"Training: features {options.features}, depth {options.depth}, {options.batch} crops of {space} pixels"
    device = choose_device(options.device).description
    report("training", title, rows, options.out, seconds=seconds, device=device, **_plain_values(options))


class _InProcess:
    """One way of training in a process of its own, so that none lives with the memory settings of another."""

    def __init__(self, name: str, options: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, options, other), daemon=True)
        self._process.start()
        other.close()
        self.weights: int = self._pipe.recv()

    def step(self) -> None:
        """Take one step there, and wait for it."""
        self._pipe.send(True)
        self._pipe.recv()

    def __enter__(self) -> _InProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.send(False)
        self._process.join(10)


def _serve(name: str, options: Any, pipe: Any) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    ours = name in (_OURS, _READY, _RESIDUAL)
    on_gpu = choose_device(options.device).torch_device.type == "cuda"
    with keep_freed_memory() if ours and not on_gpu else nullcontext():  # as `fit` does
        step, weights = _make_step(name, options)
        pipe.send(weights)
        while pipe.recv():
            step()
            if on_gpu:
                torch.cuda.synchronize()
            pipe.send(None)


def _make_step(name: str, options: Any) -> tuple[Callable[[], object], int]:
    """Return what takes one step, and how many weights it trains."""
    device = choose_device(options.device)
    config = ModelConfig(ndim=options.ndim, features=options.features, depth=options.depth)
    network = build_network(config)
    sampler = _cell_crops(options.ndim, options.crop)
    if name == _PLAIN:
        return _plain_loop(network, sampler.draw(options.batch), device), _weights(network)
    settings = TrainConfig()
    if name == _READY:
        sampler, settings = _SameBatch(sampler, options.batch), _WITHOUT_AUGMENTATION
    elif name == _BASIC:
        network = _monai_basic_unet(config)
    elif name in (_MONAI, _RESIDUAL):
        other = _monai_unet(config, _weights(network))
        width: int = other.channels[0]  # type: ignore[index, assignment]
        network = other if name == _MONAI else build_network(replace(config, architecture="residual", features=width))
    if name in (_MONAI, _BASIC):
        return _monai_loop(network, sampler.draw(options.batch), device), _weights(network)
    trainer = Trainer(network, sampler, settings, options.batch, device)
    return lambda: _take_step(trainer), _weights(network)


def _row(name: str, seconds: dict[str, list[float]], weights: int) -> dict[str, Any]:
    median = {way: statistics.median(times) for way, times in seconds.items()}
    return {
        "way": name,
        "steps/s": 1 / median[name],
        "ms/step": 1000 * median[name],
        "fastest ms": 1000 * min(seconds[name]),
        "ours is faster": median[name] / median[_RESIDUAL if name in (_RESIDUAL, _MONAI) else _OURS],
        "weights": weights,
    }


def _plain_values(options: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name not in ("out", "device")}


_WITHOUT_AUGMENTATION = TrainConfig(flips=False, rotation=0, scaling=0, shift=0, elastic=0, grey=0)


def _cell_crops(ndim: int, crop: int) -> CropSampler:
    """Make crops of a synthetic image of cells, annotated throughout."""
    shape = (2 * crop,) * ndim
    made = cells(shape, seed=0)
    reader = FrameReader(made.image, ImageLayout(made.axes, shape), IntensityRange((0.0,), (_GREY_VALUES,)))
    frame = AnnotatedFrame(
        reader, (), (0,) * ndim, (made.labels > 0).astype(np.uint8), np.ones(shape, np.float32)
    )  # fmt: skip
    return CropSampler([frame], (crop,) * ndim, (crop,) * ndim)


class _SameBatch(CropSampler):
    """Gives the same crops at each step."""

    def __init__(self, sampler: CropSampler, count: int) -> None:
        self.crop, self.rng = sampler.crop, sampler.rng
        self._batch = sampler.draw(count)

    def draw(self, count: int, part: slice = slice(None)) -> Batch:
        """Return the same crops."""
        return self._batch


def _take_step(trainer: Trainer) -> None:
    for _ in trainer.step(None):
        pass
    trainer.settle()


def _tensors(batch: Batch, device: Device) -> list[torch.Tensor]:
    parts = (batch.image, batch.classes, batch.weights)
    return [torch.from_numpy(part).to(device.torch_device) for part in parts]


def _plain_loop(network: nn.Module, batch: Batch, device: Device) -> Callable[[], None]:
    image, classes, weights = _tensors(batch, device)
    network = build_network(network.config).to(device.torch_device).train()  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)

    def step() -> None:
        optimizer.zero_grad()
        segmentation_loss(network(image), classes, weights).backward()
        optimizer.step()

    return step


def _monai_loop(network: nn.Module, batch: Batch, device: Device) -> Callable[[], None]:
    from monai.losses import DiceCELoss

    image, classes, _ = _tensors(batch, device)
    truth = classes.unsqueeze(1)
    network = network.to(device.torch_device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)

    def step() -> None:
        optimizer.zero_grad()
        loss(network(image), truth).backward()
        optimizer.step()

    return step


def _monai_unet(config: ModelConfig, weights: int) -> nn.Module:
    """Make MONAI's UNet of the same depth, of the width whose number of weights is nearest."""
    from monai.networks.nets import UNet

    def make(width: int) -> nn.Module:
        channels = [width * 2**level for level in range(config.depth + 1)]
        strides = [2] * config.depth
        network: nn.Module = UNet(config.ndim, config.in_channels, _CLASSES, channels, strides, num_res_units=2)
        return network

    with torch.device("meta"):
        widths = range(max(1, config.features // 2), 2 * config.features)
        width = min(widths, key=lambda width: abs(_weights(make(width)) - weights))
    return make(width)


def _monai_basic_unet(config: ModelConfig) -> nn.Module:
    """Make MONAI's plain U-Net, which is four levels deep, with the widths of ours."""
    from monai.networks.nets import BasicUNet

    widths = [config.features * 2**level for level in range(5)]
    network: nn.Module = BasicUNet(config.ndim, config.in_channels, _CLASSES, (*widths, config.features))
    return network


def _weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
