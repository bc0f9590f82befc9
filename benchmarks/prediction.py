"""Pixels per second of a prediction: ours, the network alone, and MONAI's sliding windows with the same network.

- ours: `napari_unet.predict` of the whole image as an array in memory, with all that belongs to it: grey values are
  measured and normalised, tiles are read, run, turned into probabilities, and put together.
- the network alone: forward passes on a ready tensor of the size of our largest tile, in the same precision and memory
  layout, and no more. Once as PyTorch runs it, and once with memory that is kept from run to run as ours is.
- the network alone in float32, in PyTorch's own memory layout.
- MONAI's `sliding_window_inference` as it comes (windows of 512 pixels, overlap 0.25) with the same network in the same
  precision and memory layout, from a ready tensor to logits.

Computed pixels are those that go through the network, useful ones those of the image. Ways take turns. The largest
difference of a probability from that of the whole image in one run is measured on a part of the image; each way is
compared with the whole image continued at its border as that way continues it.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import napari_unet as nu
from benchmarks.reporting import arguments, report, wait_for_gpu
from napari_unet.data.intensity import measure_range
from napari_unet.nets.allocator import keep_freed_memory
from napari_unet.nets.device import Device, choose_device
from napari_unet.predict.events import PredictStarted
from napari_unet.predict.runner import tile_geometry
from napari_unet.predict.tiled import image_layout
from napari_unet.predict.tiles import Tile, plan_tiles

_OURS, _BARE, _KEPT = "ours", "network alone", "network alone, memory kept"
_PLAIN, _MONAI = "network alone, float32 NCHW", "MONAI's sliding windows"
_OVERLAP = 0.25

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    """What all ways have in common.

    Attributes
    ----------
    model : Model
        The network, with the statistics of a trained one.
    device : Device
        Where it runs.
    precision : {"auto", "float32"}
        Of `napari_unet.PredictConfig`.
    window : int
        Side of MONAI's windows.
    """

    model: nu.Model
    device: Device
    precision: str
    window: int

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        with torch.inference_mode(), self.device.autocast():
            logits: torch.Tensor = self.model.network(x)
        return logits

    def config(self, tile: int | None = None) -> nu.PredictConfig:
        """Return the settings of our prediction."""
        return nu.PredictConfig(tile, str(self.device.torch_device), self.precision)  # type: ignore[arg-type]

    def predict(self, image: npt.NDArray[Any], tile: int | None = None) -> FloatArray:
        """Predict as a user does."""
        result: FloatArray = nu.predict(self.model, image, "YX", self.config(tile))
        return result

    def slide(self, x: torch.Tensor) -> torch.Tensor:
        """Run MONAI's inferer."""
        from monai.inferers import sliding_window_inference

        with torch.inference_mode():
            return sliding_window_inference(x, (self.window,) * 2, 1, self.run, overlap=_OVERLAP)  # type: ignore[return-value]

    def normalised(self, image: npt.NDArray[Any]) -> torch.Tensor:
        """Return the image as the network reads it, (1, 1, y, x) on the device."""
        intensity = measure_range(image, image_layout(self.model, image, "YX"))
        return self.device.tensor(intensity.apply(image[None])[None])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--features", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--size", type=int, default=4096, help="side of the image")
    parser.add_argument("--part", type=int, default=1280, help="side of the part on which differences are measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto", choices=("auto", "float32"))
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    depth, window = 4, 512
    if args.quick:
        args.features, args.size, args.part, args.rounds, depth, window = [2], 96, 64, 1, 1, 32
    image = draw_image(args.size)
    rows = []
    for features in args.features:
        device = choose_device(args.device, precision=args.precision)
        model = make_model(features, depth, image[: 16 * 2**depth, : 16 * 2**depth])
        setting = Setting(model, device, args.precision, window)
        device.place(model.network).eval()
        differences = measure_differences(setting, image[: args.part, : args.part])
        rows += measure_speed(setting, image, args.rounds, differences)
    report(
        "prediction", f"Prediction of {args.size} x {args.size} pixels, {device.description}", rows, args.out,
        size=args.size, depth=depth, window=window, overlap=_OVERLAP, rounds=args.rounds, part=args.part,
    )  # fmt: skip


def draw_image(size: int) -> npt.NDArray[np.uint16]:
    """Draw bright spots of several sizes on a noisy ground."""
    rng = np.random.default_rng(0)
    image = rng.normal(1000.0, 60.0, (size, size)).astype(np.float32)
    for width in (2, 8, 32):
        coarse = rng.random((-(-size // width), -(-size // width))) > 0.9
        image += 700 * np.kron(coarse, np.ones((width, width), np.float32))[:size, :size]
    return image.clip(0, 65535).astype(np.uint16)


def make_model(features: int, depth: int, image: npt.NDArray[Any]) -> nu.Model:
    """Make a network whose normalisation has seen the image, and whose logits have the spread of a trained one."""
    model = nu.Model.create(nu.ModelConfig(features=features, depth=depth), seed=0)
    network: Any = model.network
    scaled = (image - image.mean()) / image.std()
    x = torch.from_numpy(scaled.astype(np.float32))[None, None]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the statistics of all that was seen
        network.train()(x)
        logits = network.eval()(x)
        network.head.weight.mul_(2 / logits.std())
        network.head.bias.sub_(logits.mean() * 2 / logits.std())
    return model


def measure_differences(setting: Setting, image: npt.NDArray[Any]) -> dict[str, float]:
    """Return the largest difference of a probability from the whole image in one run, for ours and MONAI."""
    side = image.shape[0]
    ready = setting.normalised(image)
    geometry = tile_geometry(setting.model.network, setting.model.config)
    margin = geometry.margin or 0
    mirrored = np.pad(ready.cpu().numpy()[0], [(0, 0), (margin, margin), (margin, margin)], mode="reflect")
    whole = _probabilities(setting.run(setting.device.tensor(mirrored[None])))[:, margin:-margin, margin:-margin]
    tiled = setting.predict(image, -(-side // 3))
    found = {_OURS: float(np.abs(tiled - whole).max())}
    if importlib.util.find_spec("monai"):
        whole = _probabilities(setting.run(ready))
        found[_MONAI] = float(np.abs(_probabilities(setting.slide(ready)) - whole).max())
    return found


def _probabilities(logits: torch.Tensor) -> FloatArray:
    result: FloatArray = logits[0].float().softmax(dim=0).cpu().numpy()
    return result


def measure_speed(
    setting: Setting, image: npt.NDArray[Any], rounds: int, differences: dict[str, float]
) -> list[dict[str, Any]]:
    """Time all ways in turns; returns the rows of the table."""
    plan = plan_image(setting, image)
    largest = max((tile.outer_shape for tile in plan), key=math.prod)
    ready = setting.normalised(image)
    tile = setting.device.tensor(ready[:, :, : largest[0], : largest[1]].contiguous())
    plain, network = tile.float().contiguous(), setting.model.network
    ways: dict[str, tuple[Callable[[], float], int, int]] = {  # seconds, computed and useful pixels
        _OURS: (lambda: clock(lambda: setting.predict(image)), sum(math.prod(t.outer_shape) for t in plan), image.size),
        _BARE: (lambda: clock(lambda: setting.run(tile), 2), tile.numel(), 0),
        _KEPT: (lambda: clock_kept(lambda: setting.run(tile), 2), tile.numel(), 0),
        _PLAIN: (lambda: clock_float32(network, plain, setting.device), tile.numel(), 0),
    }
    if _MONAI in differences:
        steps = math.ceil((len(image) - setting.window) / int(setting.window * (1 - _OVERLAP))) + 1
        ways[_MONAI] = lambda: clock(lambda: setting.slide(ready)), (steps * setting.window) ** 2, image.size
        setting.slide(ready[:, :, : setting.window, : setting.window])
    else:
        print("MONAI is not installed: its row is left out (pip install monai==1.6.1).")
    setting.run(tile)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (way, _, _) in ways.items():
            seconds[name].append(way())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    speeds = {name: computed / medians[name] / 1e6 for name, (_, computed, _) in ways.items()}
    return [
        {
            "features": setting.model.config.features,
            "way": name,
            "tile": "x".join(map(str, largest if name != _MONAI else (setting.window,) * 2)),
            "seconds": medians[name],
            "computed Mpx/s": speeds[name],
            "of the network": speeds[name] / speeds[_BARE],
            "useful share": useful / computed if useful else None,
            "useful Mpx/s": speeds[name] * useful / computed if useful else None,
            "difference": differences.get(name),
        }
        for name, (_, computed, useful) in ways.items()
    ]


def plan_image(setting: Setting, image: npt.NDArray[Any]) -> list[Tile]:
    """List the tiles that a prediction of the image goes through."""
    started = next(iter(nu.predict_tiles(setting.model, image, "YX", setting.config())))
    assert isinstance(started, PredictStarted)
    return plan_tiles(image.shape, started.tile, tile_geometry(setting.model.network, setting.model.config))


def clock(run: Callable[[], object], times: int = 1) -> float:
    """Return the seconds of one of some runs."""
    wait_for_gpu()
    began = time.perf_counter()
    for _ in range(times):
        run()
    wait_for_gpu()
    return (time.perf_counter() - began) / times


def clock_kept(run: Callable[[], object], times: int) -> float:
    """Return the seconds of a run whose memory is still there from the run before."""
    with keep_freed_memory():
        run()
        return clock(run, times)


def clock_float32(network: torch.nn.Module, x: torch.Tensor, device: Device) -> float:
    """Return the seconds of a run in float32 and PyTorch's own memory layout."""
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with torch.inference_mode():
        seconds = clock(lambda: network(x))
    device.place(network)
    return seconds


if __name__ == "__main__":
    main()
