"""Who races: a forest on image features, U-Nets from scratch, and the plugin's own way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

import napari_unet as nu
from benchmarks.few_strokes.tasks import Episode, task_of
from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import measure_range

__all__ = ["ABLATIONS", "CONTENDERS", "Contender"]

Predict = Callable[[npt.NDArray[Any], str], npt.NDArray[np.float32]]
"""From an image and its axes to the probability of the foreground, (*space)."""


class Contender(Protocol):
    """Learns from an episode's strokes and gives a way to segment after each of some seconds of training."""

    def __call__(
        self, episode: Episode, marks: tuple[float, ...], seed: int, device: str, pace: float | None = None
    ) -> Iterator[tuple[float, Predict]]:
        """Yield (mark, predict) for each mark that the contender can be asked at, in order.

        With a pace, U-Nets of the plugin take as many steps as they would in that time at so many steps a second.
        """
        ...


def normalised(image: npt.NDArray[Any], axes: str, ndim: int) -> npt.NDArray[np.float32]:
    """Return (C, *space) float32 as all contenders get it."""
    layout = ImageLayout(axes, image.shape, ndim)
    channels_first = np.moveaxis(image, axes.index("S"), 0) if "S" in axes else image[np.newaxis]
    return measure_range(image, layout).apply(channels_first)


def forest(
    episode: Episode, marks: tuple[float, ...], seed: int, device: str, pace: float | None = None
) -> Iterator[tuple[float, Predict]]:
    """Grow a random forest on multi-scale image features: what ilastik and its like do."""
    from skimage.feature import multiscale_basic_features
    from sklearn.ensemble import RandomForestClassifier

    def features(image: npt.NDArray[Any], axes: str) -> npt.NDArray[np.float32]:
        stack = np.moveaxis(normalised(image, axes, episode.ndim), 0, -1)
        found: npt.NDArray[np.float32] = multiscale_basic_features(stack, channel_axis=-1, sigma_min=1, sigma_max=16)
        return found

    rows, classes = [], []
    for sample in episode.support:
        painted = sample.annotation > 0
        rows.append(features(sample.image, sample.axes)[painted])
        classes.append(sample.annotation[painted])
    grown = RandomForestClassifier(50, max_depth=10, max_samples=0.5, n_jobs=-1, random_state=seed)
    grown.fit(np.concatenate(rows), np.concatenate(classes))

    def predict(image: npt.NDArray[Any], axes: str) -> npt.NDArray[np.float32]:
        found = features(image, axes)
        probability = grown.predict_proba(found.reshape(-1, found.shape[-1]))[:, 1]
        return probability.reshape(found.shape[:-1]).astype(np.float32)

    yield marks[0], predict


def scratch(
    episode: Episode, marks: tuple[float, ...], seed: int, device: str, pace: float | None = None
) -> Iterator[tuple[float, Predict]]:
    """Train the plugin's U-Net from random weights, anew for each mark."""
    channels = 3 if "S" in episode.support[0].axes else 1
    for mark in marks:
        if mark <= 0:
            continue
        model = nu.Model.create(
            nu.ModelConfig(features=16, depth=4 if episode.ndim == 2 else 3, ndim=episode.ndim, in_channels=channels),
            seed=seed,
        )
        for _ in nu.fit(model, episode.support, _fit_settings(episode, mark, seed, pace), device=device):
            pass
        yield mark, _predict_with(model, device)


def closed_form(
    episode: Episode, marks: tuple[float, ...], seed: int, device: str, pace: float | None = None, *, place: bool = True
) -> Iterator[tuple[float, Predict]]:
    """Solve the last layer of the shipped starting weights from the strokes, without training."""
    if min(marks) > 0:
        return
    channels = 3 if "S" in episode.support[0].axes else 1
    model = nu.Model.pretrained(in_channels=channels, ndim=episode.ndim)
    nu.adapt(model, episode.support, task=task_of(episode), device=device, place_may_count=place)
    yield 0.0, _predict_with(model, device)


def ours(
    episode: Episode, marks: tuple[float, ...], seed: int, device: str, pace: float | None = None, *,
    solved: bool = True, **settings: Any,
) -> Iterator[tuple[float, Predict]]:  # fmt: skip
    """Train the shipped starting weights on from their solved last layer, anew for each mark."""
    channels = 3 if "S" in episode.support[0].axes else 1
    for mark in marks:
        if mark <= 0:
            continue
        model = nu.Model.pretrained(in_channels=channels, ndim=episode.ndim)
        if not solved:
            model.closed_form = None
        for _ in nu.fit(
            model, episode.support, replace(_fit_settings(episode, mark, seed, pace), **settings), device=device
        ):
            pass
        yield mark, _predict_with(model, device)


def _fit_settings(episode: Episode, seconds: float, seed: int, pace: float | None) -> nu.TrainConfig:
    if pace is None:
        return nu.TrainConfig(max_seconds=seconds, task=task_of(episode), seed=seed)
    return nu.TrainConfig(max_steps=max(1, round(seconds * pace)), task=task_of(episode), seed=seed)


def _predict_with(model: nu.Model, device: str) -> Predict:
    def predict(image: npt.NDArray[Any], axes: str) -> npt.NDArray[np.float32]:
        probability: npt.NDArray[np.float32] = nu.predict(model, image, axes, nu.PredictConfig(device=device))[1]
        return probability

    return predict


def monai(
    episode: Episode, marks: tuple[float, ...], seed: int, device: str, pace: float | None = None
) -> Iterator[tuple[float, Predict]]:
    """Train MONAI's U-Net with its usual loss (Dice and cross entropy) and random flips and turns, in float32."""
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    ndim, target = episode.ndim, torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
    images = [torch.from_numpy(normalised(s.image, s.axes, ndim)) for s in episode.support]
    truths = [torch.from_numpy(s.annotation.astype(np.int64)) for s in episode.support]
    for mark in marks:
        if mark <= 0:
            continue
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        network = UNet(ndim, images[0].shape[0], 2, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2).to(target)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        loss_of = DiceCELoss(softmax=True, to_onehot_y=True, reduction="mean")
        began = time.monotonic()
        while time.monotonic() - began < mark:
            image, truth = _random_crops(images, truths, rng)
            logits = network(image.to(target))
            painted = (truth > 0).to(target)
            classes = (truth - 1).clamp(min=0).to(target)
            kept = logits.movedim(1, -1)[painted].T[None], classes[painted][None, None]  # unpainted pixels are ignored
            loss = loss_of(*kept)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        yield mark, _predict_with_monai(network, ndim, target)


def _random_crops(
    images: list[torch.Tensor], truths: list[torch.Tensor], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch of crops round painted pixels, mirrored and turned at random."""
    crops, labels = [], []
    ndim = truths[0].ndim
    side = (128, 128) if ndim == 2 else (32, 64, 64)
    for _ in range(8 if ndim == 2 else 2):
        number = int(rng.integers(len(images)))
        padded_image, padded_truth = _at_least(images[number], truths[number], side)
        wanted = 1 + int(rng.integers(2))
        places = torch.nonzero(padded_truth == wanted)
        centre = places[int(rng.integers(len(places)))].tolist()
        box = []
        for place, n, length in zip(centre, padded_truth.shape, side, strict=True):
            start = min(max(0, place - int(rng.integers(length))), n - length)
            box.append(slice(start, start + length))
        image, truth = padded_image[(slice(None), *box)], padded_truth[tuple(box)]
        flips = [axis for axis in range(ndim) if rng.random() < 0.5]
        image, truth = image.flip([1 + axis for axis in flips]), truth.flip(flips)
        if rng.random() < 0.5:
            image, truth = image.transpose(-1, -2), truth.transpose(-1, -2)
        crops.append(image)
        labels.append(truth)
    return torch.stack(crops), torch.stack(labels)


def _at_least(image: torch.Tensor, truth: torch.Tensor, side: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror an image and leave its labels empty where it is smaller than a crop."""
    missing = [max(0, length - n) for length, n in zip(side, truth.shape, strict=True)]
    if not any(missing):
        return image, truth
    array = np.pad(image.numpy(), [(0, 0), *((0, more) for more in missing)], mode="symmetric")
    labels = np.pad(truth.numpy(), [(0, more) for more in missing])
    return torch.from_numpy(array), torch.from_numpy(labels)


def _predict_with_monai(network: torch.nn.Module, ndim: int, target: torch.device) -> Predict:
    def predict(image: npt.NDArray[Any], axes: str) -> npt.NDArray[np.float32]:
        array = normalised(image, axes, ndim)
        space = array.shape[1:]
        padded = np.pad(array, [(0, 0), *((0, math.ceil(n / 16) * 16 - n) for n in space)], mode="symmetric")
        with torch.inference_mode():
            logits = network(torch.from_numpy(padded)[None].to(target))
        probability: npt.NDArray[np.float32] = logits.softmax(1)[0, 1].cpu().numpy()
        return probability[tuple(slice(n) for n in space)]

    return predict


CONTENDERS: dict[str, Contender] = {
    "forest": forest,
    "closed form": closed_form,
    "ours": ours,
    "scratch": scratch,
    "monai": monai,
}

ABLATIONS: dict[str, Contender] = {
    "closed form without place": partial(closed_form, place=False),
    "ours without place": partial(ours, place_may_count=False),
    "ours without solved last layer": partial(ours, solved=False),
    "ours without holding on": partial(ours, hold_on=0.0),
    "ours without held-out score": partial(ours, holdout=0.0),
    "ours at the usual rate": partial(ours, learning_rate=2e-3),
}
