"""Augmentation: against scipy's map_coordinates doing the same deformation, and as a share of a training step.

Both deform the same crops (image linearly, classes and weights from the nearest pixel) by the same displacements; ours
also draws them. The step is the trainer's own: autocast and memory format as the device has them.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from benchmarks.reporting import arguments, interleaved, report
from napari_unet.data.augment import AugmentConfig, Augmenter
from napari_unet.data.axes import ImageLayout
from napari_unet.data.crops import AnnotatedFrame, CropSampler
from napari_unet.data.intensity import FrameReader, IntensityRange
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.trainer import Trainer
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device, choose_device
from napari_unet.nets.registry import build_network

CASES = [(32, 4, 4, (256, 256)), (16, 4, 8, (128, 128)), (16, 2, 2, (32, 64, 64))]  # features, depth, batch, crop
QUICK = [(4, 1, 2, (32, 32)), (4, 1, 1, (8, 16, 16))]
ALL = AugmentConfig(noise=0.1, blur=1.0)
GEOMETRY = dataclasses.replace(ALL, grey=0, noise=0, blur=0)


def main(argv: list[str] | None = None) -> None:
    options = arguments(__doc__ or "").parse_args(argv)
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    rounds = 2 if options.quick else 7
    rows = [_measure(*case, device, rounds) for case in (QUICK if options.quick else CASES)]
    title = f"Augmentation of one batch, medians of {rounds}, on {device.description}; % of a training step"
    report("augmentation", title, rows, options.out, settings=dataclasses.asdict(ALL))


def _measure(
    features: int, depth: int, batch: int, crop: tuple[int, ...], device: Device, rounds: int
) -> dict[str, Any]:
    trainer = _trainer(features, depth, batch, crop, device)
    drawn = trainer.sampler.draw(batch)
    crops = tuple(device.tensor(part) for part in (drawn.image, drawn.classes, drawn.weights))
    ndim = len(crop)
    geometry, defaults, everything = (Augmenter(config, ndim) for config in (GEOMETRY, AugmentConfig(), ALL))
    places = _places(GEOMETRY, batch, crop)
    ways: dict[str, Callable[[], Any]] = {
        "scipy (ms)": lambda: _map_coordinates(drawn, places),
        "ours (ms)": lambda: geometry(*crops),
        "defaults (ms)": lambda: defaults(*crops),
        "+ noise, blur (ms)": lambda: everything(*crops),
        "step (ms)": lambda: list(trainer.step(None)),
    }
    times = {way: 1000 * statistics.median(turns) for way, turns in interleaved(ways, rounds, warm_up=2).items()}
    return {
        "crops, features, depth": f"{'x'.join(map(str, (batch, *crop)))}, {features}, {depth}",
        **times,
        "scipy / ours": times["scipy (ms)"] / times["ours (ms)"],
        "defaults (%)": 100 * times["defaults (ms)"] / times["step (ms)"],
        "all (%)": 100 * times["+ noise, blur (ms)"] / times["step (ms)"],
        "difference": _difference(drawn, places, crops),
    }


def _trainer(features: int, depth: int, batch: int, crop: tuple[int, ...], device: Device) -> Trainer:
    rng = np.random.default_rng(0)
    shape = tuple(2 * side for side in crop)
    image = ndimage.gaussian_filter(rng.random(shape, np.float32), 2)
    classes = (image > image.mean()).astype(np.uint8)
    layout, grey = (
        ImageLayout("ZYX"[-len(crop) :], shape, ndim=len(crop)),
        IntensityRange((float(image.min()),), (float(image.max()),)),
    )
    frame = AnnotatedFrame(
        FrameReader(image, layout, grey), (), (0,) * len(crop), classes, np.ones(shape, np.float32)
    )  # fmt: skip
    network = build_network(ModelConfig(ndim=len(crop), features=features, depth=depth))  # type: ignore[arg-type]
    return Trainer(network, CropSampler([frame], crop, crop, 0), TrainConfig(), batch, device)


def _places(config: AugmentConfig, batch: int, crop: tuple[int, ...]) -> np.ndarray:
    """Where each pixel is taken from: (N, axis, \\*crop) in pixels; the first that an augmenter draws."""
    grid = Augmenter(config, len(crop))._sampling_grid(batch, crop, torch.device("cpu")).flip(-1).numpy()
    return np.moveaxis((grid + 1) * ((np.array(crop, np.float32) - 1) / 2), -1, 1)


def _map_coordinates(drawn: Any, places: np.ndarray) -> list[np.ndarray]:
    """Deform crops with scipy: their images, classes and weights."""
    images = [
        [ndimage.map_coordinates(channel, place, order=1, mode="mirror") for channel in image]
        for image, place in zip(drawn.image, places, strict=True)
    ]
    return [np.array(images)] + [
        np.array([ndimage.map_coordinates(a, p, order=0) for a, p in zip(part, places, strict=True)])
        for part in (drawn.classes, drawn.weights)
    ]


def _difference(drawn: Any, places: np.ndarray, crops: tuple[torch.Tensor, ...]) -> float:
    """Compare the images of both."""
    image = Augmenter(GEOMETRY, places.shape[1])(*crops)[0]
    return float(np.abs(image.float().cpu().numpy() - _map_coordinates(drawn, places)[0]).max())


if __name__ == "__main__":
    main()
