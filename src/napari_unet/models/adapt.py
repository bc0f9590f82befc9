"""The fast one of a model's two speeds: its last layer, solved from all strokes at once, without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.data.crops import AnnotatedFrame
from napari_unet.data.intensity import FrameReader
from napari_unet.data.sample import Sample
from napari_unet.errors import InputError
from napari_unet.learn.closed_form import ClosedForm, solve_head
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.prepare import prepare_frames
from napari_unet.models.model import Model
from napari_unet.nets.device import choose_device
from napari_unet.predict.blend import Blender
from napari_unet.predict.feature_cache import FeatureCache
from napari_unet.predict.features import FeatureMaps
from napari_unet.predict.tiled import image_layout

__all__ = ["Adapter", "StrokeFeatures", "adapt", "apply_head"]

_MOST_PIXELS = 10_000  # of one class in one frame
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: its multiples are evenly spread


def adapt(
    model: Model,
    samples: Sequence[Sample],
    *,
    task: Literal["objects", "classes"] | None = None,
    device: str = "auto",
    cache: FeatureCache | None = None,
) -> None:
    """Make a model segment what is painted, without training: solve its last layer from the strokes.

    The network's last feature map stays as it is; a ridge regression from it to the strokes becomes the head, in
    milliseconds once the map is known. How well that works depends on the network: those of `Model.pretrained` were
    trained for it, and trained models have learnt features, too; on random weights it is poor.

    Borders between objects are not weighted, as they are in `fit`: the weights are for a network that can learn to
    see a gap; without training they would only move the threshold.

    Parameters
    ----------
    model : Model
        Gets a new head, `task` and `spacing`; all else stays. ``history["adapted"]`` tells how many pixels were
        painted and how many used: at most 10,000 of each class in each frame, evenly spread.
    samples : sequence of Sample
        The annotated images; they are not changed.
    task : {"objects", "classes"} or None
        What the strokes mean; None: as the model's.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    cache : FeatureCache or None
        Give the same one again, with the same images, to compute nothing twice.

    Raises
    ------
    UNetError
        If the samples or the device can't be used, nothing or one class only is painted, or memory is too small.

    See Also
    --------
    Adapter : for strokes that keep coming.

    Examples
    --------
    >>> import napari_unet as nu
    >>> image = np.random.default_rng(0).random((32, 32)); image[8:20, 8:20] += 2
    >>> strokes = np.zeros((32, 32), np.uint8); strokes[2:5, 2:30] = 1; strokes[10:18, 10:18] = 2
    >>> model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    >>> nu.adapt(model, [nu.Sample(image, strokes)], task="classes", device="cpu")
    >>> nu.segment(model, image)[[4, 14], [4, 14]].tolist(), model.history["adapted"]["painted"]
    ([1, 2], 148)
    """
    Adapter(model, device, cache=cache).adapt(samples, task=task)


@dataclass(frozen=True, eq=False)
class StrokeFeatures:
    """What a network sees at painted pixels: of each class in each frame at most 10,000.

    Attributes
    ----------
    features : torch.Tensor
        (n, D) on the device.
    classes : numpy.ndarray
        (n,) int64, index of the class, 0 = background.
    weights : numpy.ndarray
        (n,) float32, how many painted pixels each stands for.
    pixels : tuple of numpy.ndarray
        For each frame the numbers of its pixels in the flattened frame.
    """

    features: torch.Tensor
    classes: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    pixels: tuple[npt.NDArray[np.int64], ...]


class Adapter:
    """Adapts a model to strokes again and again, and shows what it then sees, without running the network twice.

    Changed weights of the network are noticed and the features made anew. Use it from one thread at a time.

    Parameters
    ----------
    model : Model
        What `adapt` changes.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    cache : FeatureCache or None
        Remembers the features; None: a new one of 512 MB. `FeatureCache.forget` lets go of an image.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((32, 48)); image[8:20, 8:20] += 2
    >>> strokes = np.zeros((32, 48), np.uint8); strokes[2:5, 2:30] = 1; strokes[10:18, 10:18] = 2
    >>> adapter = Adapter(Model.create(), "cpu")
    >>> adapter.adapt([Sample(image, strokes)])
    >>> strokes[22:26, 10:40] = 1
    >>> adapter.adapt([Sample(image, strokes)])
    >>> adapter.probabilities(image, region=(slice(0, 20), slice(8, 40))).shape
    (2, 20, 32)
    """

    def __init__(self, model: Model, device: str = "auto", *, cache: FeatureCache | None = None) -> None:
        self.model = model
        self.device = choose_device(device)
        self.cache = FeatureCache() if cache is None else cache

    def adapt(self, samples: Sequence[Sample], *, task: Literal["objects", "classes"] | None = None) -> None:
        """Solve the head of the model from all strokes so far; see `napari_unet.adapt`."""
        model = self.model
        strokes = self.painted(samples, task=task)
        self.set_head(*self.solve(strokes))
        model.task, model.spacing = task or model.task, samples[0].spacing
        kept = {key: value for key, value in model.history.items() if key != "best_score"}  # that of the old head
        model.history = kept | {
            "adapted": {
                "painted": round(float(strokes.weights.sum())),
                "used": len(strokes.classes),
                "images": [sample.name for sample in samples],
                "device": self.device.description,
            }
        }

    def painted(
        self, samples: Sequence[Sample], *, task: Literal["objects", "classes"] | None = None
    ) -> StrokeFeatures:
        """Return what is known of the painted pixels.

        Raises
        ------
        UNetError
            If the samples can't be used, or nothing or one class only is painted.
        """
        config = TrainConfig(task=cast("Any", task or self.model.task), w0=0.0)
        frames = prepare_frames(samples, self.model.config, config, self.cache.reader)
        return self.gather(frames)

    def gather(self, frames: Sequence[AnnotatedFrame]) -> StrokeFeatures:
        """Return the features of what is painted on frames, which are read by what `FeatureCache.reader` returns."""
        self._place()
        features, classes, weights, pixels = [], [], [], []
        for frame in frames:
            places, kinds, counts = _choose_pixels(frame, len(self.model.config.classes))
            features.append(self._maps(frame.reader).gather(frame.position, places))
            pixels.append(places)
            classes.append(kinds)
            weights.append(counts)
        return StrokeFeatures(torch.cat(features), np.concatenate(classes), np.concatenate(weights), tuple(pixels))

    def solve(
        self, strokes: StrokeFeatures, chosen: npt.NDArray[np.bool_] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight (K, D) and bias (K,) of the head that strokes give; `chosen` (n,) bool leaves pixels out."""
        device = self.device.torch_device
        kept = np.ones(len(strokes.classes), bool) if chosen is None else chosen
        form = self.model.closed_form or ClosedForm()
        return solve_head(
            strokes.features if chosen is None else strokes.features[torch.from_numpy(kept).to(device)],
            torch.from_numpy(strokes.classes[kept]).to(device),
            len(self.model.config.classes),
            weights=torch.from_numpy(strokes.weights[kept]).to(device),
            ridge=form.ridge, scale=form.scale, offset=form.offset,
        )  # fmt: skip

    def set_head(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Give the model a head of weight (K, D) and bias (K,)."""
        head = cast("nn.Conv2d", self.model.network.head)
        with torch.no_grad():
            head.weight.copy_(weight.reshape(head.weight.shape))
            cast("torch.Tensor", head.bias).copy_(bias)

    def maps(self, image: Any, layout: ImageLayout) -> FeatureMaps:
        """Return the feature maps of an image."""
        self._place()
        return self._maps(self.cache.reader(image, layout, self.model.config))

    def probabilities(self, image: Any, axes: str | None = None, region: Box | None = None) -> npt.NDArray[np.float32]:
        """Return the probability of each class, as `napari_unet.predict` does, from the features that are known.

        Parameters
        ----------
        image : array-like
            One of those painted on, or another one.
        axes : str or None
            One letter for each axis of `image`; None: see `napari_unet.data.axes.guess_axes`.
        region : tuple of slice or None
            Part of the space, one slice for each of the image's axes but the channels; None: all.

        Returns
        -------
        numpy.ndarray
            (class, \\*region) float32 in 0..1.

        Raises
        ------
        UNetError
            If the image does not fit the model, or the memory is too small.
        """
        layout = image_layout(self.model, image, axes)
        box = _complete(region, layout)
        maps = self.maps(image, layout)
        letters = layout.label_axes
        space = tuple(box[letters.index(letter)] for letter in layout.space_letters)
        stack = [box[letters.index(letter)] for letter in layout.stack_letters]
        shape = tuple(part.stop - part.start for part in box)
        result = np.empty((len(self.model.config.classes), *shape), np.float32)
        view = ImageLayout(letters, shape, layout.ndim)
        for place in view.frames():
            position = tuple(part.start + i for part, i in zip(stack, place, strict=True))
            for inner, block in self._classify(maps, position, space):
                common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(inner, space, strict=True)]
                here = tuple(slice(p.start - a.start, p.stop - a.start) for p, a in zip(common, inner, strict=True))
                there = tuple(slice(p.start - a.start, p.stop - a.start) for p, a in zip(common, space, strict=True))
                target = (slice(None), *view.label_box(place, there))
                result[target] = view.to_label_order(block[(slice(None), *here)])
        return result

    def _classify(
        self, maps: FeatureMaps, position: tuple[int, ...], space: Box
    ) -> Iterator[tuple[Box, npt.NDArray[np.float32]]]:
        """Go through the tiles (box, probabilities) of a part of a frame."""
        blender = Blender(maps.overlap) if maps.overlap else None
        head = cast("nn.Conv2d", self.model.network.head)
        weight, bias = head.weight.detach().flatten(1), cast("torch.Tensor", head.bias).detach()
        for number, features in maps.read(position, maps.touching(space)):
            block = apply_head(features, weight, bias)
            inner = maps.tiles[number].inner
            yield inner, block if blender is None else blender.add(position, inner, block)

    def _place(self) -> None:
        """Bring the network to the device, and forget what another network, or other weights, made."""
        self.model.network = self.device.place(self.model.network).eval()
        self.cache.renew(self.model.network, self.device)

    def _maps(self, reader: FrameReader) -> FeatureMaps:
        return FeatureMaps(self.model, reader, self.device, self.cache)


def _complete(region: Box | None, layout: ImageLayout) -> tuple[slice, ...]:
    """Fill in where a region begins and ends."""
    given = region or (slice(None),) * len(layout.label_axes)
    if len(given) != len(layout.label_axes):
        raise InputError(f"Expected `region` to have one slice for each of {layout.label_axes}, but got {given}.")
    spans = [part.indices(size) for part, size in zip(given, layout.label_shape, strict=True)]
    if any(step != 1 or stop <= start for start, stop, step in spans):
        raise InputError(f"Expected `region` to hold pixels of the image, without steps, but got {given}.")
    return tuple(slice(start, stop) for start, stop, _ in spans)


def _choose_pixels(
    frame: AnnotatedFrame, classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Choose painted pixels of a frame, evenly spread where they are many.

    Those chosen before stay chosen, or go, when strokes are added, so that their features are known.

    Returns
    -------
    pixels : numpy.ndarray
        (n,) numbers in the flattened frame, sorted.
    kinds : numpy.ndarray
        (n,) their classes.
    weights : numpy.ndarray
        (n,) how many painted pixels each stands for.
    """
    local = np.nonzero(frame.weights)
    kinds = frame.classes[local].astype(np.int64)
    places = tuple(axis + begin for axis, begin in zip(local, frame.origin, strict=True))
    pixels = np.ravel_multi_index(places, frame.reader.layout.frame_shape)
    rank = pixels.astype(np.uint64) * _SPREAD
    chosen, weights = [], np.ones(len(pixels), np.float32)
    for kind in range(classes):
        own = np.flatnonzero(kinds == kind)
        if len(own) > _MOST_PIXELS:
            weights[own] = len(own) / _MOST_PIXELS
            own = own[np.argpartition(rank[own], _MOST_PIXELS)[:_MOST_PIXELS]]
        chosen.append(own)
    kept = np.sort(np.concatenate(chosen))
    return pixels[kept], kinds[kept], weights[kept]


@torch.inference_mode()
def apply_head(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> npt.NDArray[np.float32]:
    """Return the probabilities (K, \\*space) of a map (D, \\*space) whose channels lie side by side.

    Where the map is bfloat16, weights are split into two numbers of that format, which together are nearly as exact
    as float32, so that the map need not be converted. The rest is left to NumPy: it waits for no other thread, as
    PyTorch does in each operation while a training uses all cores.
    """
    rows = features.movedim(0, -1).reshape(-1, len(features)).T
    if features.dtype == torch.bfloat16:
        coarse = weight.to(torch.bfloat16)
        parts = torch.cat([coarse, (weight - coarse).to(torch.bfloat16)]) @ rows
    else:
        parts = weight @ rows.float()
    logits: npt.NDArray[np.float32] = parts.float().cpu().numpy().reshape(-1, len(weight), rows.shape[1]).sum(axis=0)
    logits += bias.cpu().numpy()[:, None]
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits.reshape(-1, *features.shape[1:])
