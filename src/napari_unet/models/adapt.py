"""The fast one of a model's two speeds: its last layer, solved from all strokes at once, without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.data.crops import AnnotatedFrame
from napari_unet.data.intensity import FrameReader
from napari_unet.data.sample import Sample
from napari_unet.errors import InputError
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.painted_pixels import PaintedPixels
from napari_unet.learn.place_choice import PlaceWeight, SolvedHead, Task, solve_with_place
from napari_unet.learn.prepare import prepare_frames
from napari_unet.learn.second_opinion import ask_others
from napari_unet.learn.solved_head import set_head
from napari_unet.models.head import apply_head
from napari_unet.models.model import Model
from napari_unet.models.stroke_features import StrokeFeatures, gather_features
from napari_unet.nets.device import choose_device
from napari_unet.predict.blend import Blender
from napari_unet.predict.feature_cache import FeatureCache
from napari_unet.predict.features import FeatureMaps
from napari_unet.predict.tiled import image_layout
from napari_unet.predict.turns import list_positions

if TYPE_CHECKING:
    from napari_unet.nets.base import SegmentationNetwork

__all__ = ["Adapter", "adapt"]


def adapt(
    model: Model,
    samples: Sequence[Sample],
    *,
    task: Literal["objects", "classes"] | None = None,
    device: str = "auto",
    cache: FeatureCache | None = None,
    place_may_count: bool = True,
) -> None:
    """Make a model segment what is painted, without training: solve its last layer from the strokes.

    The network's last feature map stays as it is; a ridge regression from it to the strokes, led on to strokes that it
    gets wrong (`napari_unet.learn.closed_form.follow_strokes`), becomes the head, in milliseconds once the map is
    known. How well that works depends on the network: those of `Model.pretrained` were trained for it, and trained
    models have learnt features, too; on random weights it is poor.

    Where that leaves much of what is painted wrong, how far pixels are enclosed counts, too, trees that ask for the
    grey values around a pixel are half of the answer, and beside them the place counts
    (`napari_unet.learn.second_opinion.ask_others`); no trees are asked in volumes.

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
    place_may_count : bool
        Whether the last layer may look at where in the image a pixel lies, relative to its size, and at how far it is
        enclosed by brighter or darker ones, if strokes that are left out are then told better from all else, or few
        strokes lie too close together for chance: so it is with organs. See
        `napari_unet.learn.place_choice.choose_place_weight`. If not, nobody else is asked either.

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
    Adapter(model, device, cache=cache, place_may_count=place_may_count).adapt(samples, task=task)


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
        Remembers the features; None: a new one of 512 MB.
    place_may_count : bool
        See `adapt`.

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

    def __init__(
        self, model: Model, device: str = "auto", *, cache: FeatureCache | None = None, place_may_count: bool = True
    ) -> None:
        self.model = model
        self.place_may_count = place_may_count
        self.device = choose_device(device)
        self.cache = FeatureCache() if cache is None else cache
        self._turned = FeatureCache(self.cache.max_bytes)

    def adapt(self, samples: Sequence[Sample], *, task: Literal["objects", "classes"] | None = None) -> None:
        """Solve the head of the model from all strokes so far; see `napari_unet.adapt`."""
        model = self.model
        strokes = self.painted(samples, task=task)
        set_head(model.network, self.solve(strokes, task=task))
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

    def gather(self, frames: Sequence[AnnotatedFrame], *, most_unknown: int | None = None) -> StrokeFeatures:
        """Return the features of what is painted on frames, which are read by what `FeatureCache.reader` returns.

        Small frames are looked at as a whole; with `most_unknown`, where a person waits, only if the features of no
        more than so many tiles are still to be computed.
        """
        self._place()
        count = len(self.model.config.classes)
        return gather_features(frames, self._maps, count, with_places=self._place_counts, most_unknown=most_unknown)

    @property
    def _place_counts(self) -> bool:
        """Whether the place can count in what is solved."""
        return self.place_may_count and cast("SegmentationNetwork", self.model.network).takes_place

    def solve(
        self, strokes: StrokeFeatures, chosen: npt.NDArray[np.bool_] | None = None, place: PlaceWeight | None = None,
        *, task: Literal["objects", "classes"] | None = None,
    ) -> SolvedHead:  # fmt: skip
        """Return the head that strokes give.

        Parameters
        ----------
        strokes : StrokeFeatures
            What is known of the painted pixels.
        chosen : numpy.ndarray or None
            (n,) bool, which of them count; None: all.
        place : PlaceWeight or None
            How much the place counts; None: that is chosen.
        task : {"objects", "classes"} or None
            What the strokes mean; None: as the model's.
        """
        device = self.device.torch_device
        kept = np.ones(len(strokes.classes), bool) if chosen is None else chosen
        form = self.model.closed_form or ClosedForm()
        features = strokes.features if chosen is None else strokes.features[torch.from_numpy(kept).to(device)]
        classes = torch.from_numpy(strokes.classes[kept]).to(device)
        weights = torch.from_numpy(strokes.weights[kept]).to(device)
        count = len(self.model.config.classes)
        if not self._place_counts:
            return SolvedHead(*form.solve_and_follow(features, classes, count, weights=weights))
        rows, takes_trees = torch.from_numpy(kept), cast("SegmentationNetwork", self.model.network).takes_trees
        painted = PaintedPixels(
            features, classes, count, strokes.strokes[kept], strokes.places[rows], strokes.seen, strokes.images[kept],
            weights,
        )  # fmt: skip
        solved = solve_with_place(painted, chosen=place, task=cast("Task", task or self.model.task), form=form)
        return ask_others(
            solved, painted, enclosed=lambda: strokes.enclosed()[rows], chosen=place,
            greys=(lambda: strokes.greys()[rows.to(device)]) if takes_trees else None,
        )  # fmt: skip

    def maps(self, image: Any, layout: ImageLayout) -> FeatureMaps:
        """Return the feature maps of an image."""
        self._place()
        return self._maps(self.cache.reader(image, layout, self.model.config))

    def turned_maps(self, image: Any, layout: ImageLayout) -> list[FeatureMaps]:
        """Return the feature maps of an image in its other positions, see `napari_unet.predict.turns.list_positions`.

        They are remembered apart, so that they do not drive out those of the image as it lies.
        """
        self._place()
        self._turned.renew(self.model.network, self.device)
        self._turned.share_images(self.cache)
        reader = self.cache.reader(image, layout, self.model.config)
        return [FeatureMaps(self.model, reader, self.device, self._turned, turn) for turn in list_positions()[1:]]

    def forget(self, image: Any) -> None:
        """Let go of an image."""
        self.cache.forget(image)
        self._turned.forget(image)

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
        positions, space = layout.frames_in(box)
        shape = tuple(part.stop - part.start for part in box)
        result = np.empty((len(self.model.config.classes), *shape), np.float32)
        view = ImageLayout(letters, shape, layout.ndim)
        for place, position in zip(view.frames(), positions, strict=True):
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
        for number, features in maps.read(position, maps.touching(space)):
            inner = maps.tiles[number].inner
            block = apply_head(maps, number, features, position)
            yield inner, block if blender is None else blender.add(position, inner, block)

    def _place(self) -> None:
        """Bring the network to the device, and forget what another network, or other weights, made."""
        self.model.network = self.device.place(self.model.network).eval()
        self.cache.renew(self.model.network, self.device)

    def _maps(self, reader: FrameReader) -> FeatureMaps:
        return FeatureMaps(self.model, reader, self.device, self.cache)


def _complete(region: Box | None, layout: ImageLayout) -> Box:
    """Fill in where a region begins and ends."""
    box = layout.bounds(region)
    if any(part.stop <= part.start for part in box) or any(part.step not in (None, 1) for part in region or ()):
        raise InputError(f"Expected `region` to hold pixels of the image, without steps, but got {region}.")
    return box
