"""Images of one kind with the truth about them: synthetic scenes, or a real annotated set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import measure_range
from napari_unet.data.scenes.kinds import draw_kind
from napari_unet.errors import InputError

__all__ = ["ImageGroup", "annotated_group", "draw_group", "three_channels"]

_LOW, _HIGH = -1.0, 3.0  # beyond these, normalised grey values are hot pixels


@dataclass(frozen=True, eq=False)
class ImageGroup:
    """At least two images of one kind; their sizes may differ.

    Attributes
    ----------
    name : str
        The kind of scene, or the name of the set.
    images : tuple of numpy.ndarray
        (3, \\*space) float16, normalised.
    regions : tuple of numpy.ndarray
        (\\*space) uint8: which thing each pixel shows; the same number means the same thing in all images.
    objects : tuple of numpy.ndarray or None
        (\\*space) uint16: 0, or the number of an object; None where nothing is countable.
    """

    name: str
    images: tuple[npt.NDArray[np.float16], ...]
    regions: tuple[npt.NDArray[np.uint8], ...]
    objects: tuple[npt.NDArray[np.uint16], ...] | None = None


def draw_group(rng: np.random.Generator, shape: Sequence[int], size: int = 3) -> ImageGroup:
    """Draw a kind of scenes and some scenes of it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    shape : sequence of int
        Pixels along each of 2 or 3 axes.
    size : int
        Number of scenes.

    Examples
    --------
    >>> group = draw_group(np.random.default_rng(0), (32, 32), size=2)
    >>> [image.shape for image in group.images]
    [(3, 32, 32), (3, 32, 32)]
    """
    while True:
        kind = draw_kind(rng, len(shape))
        scenes = [kind.scene(rng, shape) for _ in range(size)]
        order = rng.permutation(kind.channels).tolist()
        try:
            images = tuple(_normalise(scene.image, order) for scene in scenes)
        except InputError:  # an empty scene
            continue
        objects = tuple(scene.objects for scene in scenes if scene.objects is not None)
        regions = tuple(scene.regions for scene in scenes)
        return ImageGroup(type(kind).__name__, images, regions, objects if len(objects) == size else None)


def annotated_group(
    name: str,
    images: Sequence[npt.NDArray[Any]],
    regions: Sequence[npt.NDArray[Any]],
    objects: Sequence[npt.NDArray[Any]] | None = None,
) -> ImageGroup:
    """Make a group of real images.

    Parameters
    ----------
    name : str
        Name of the set.
    images : sequence of numpy.ndarray
        (C, \\*space) of any real dtype.
    regions : sequence of numpy.ndarray
        (\\*space) 0 background, 1, 2, ... up to 254 things.
    objects : sequence of numpy.ndarray or None
        (\\*space) 0 background, 1, 2, ... objects.

    Raises
    ------
    InputError
        If there are fewer than two images, their sizes are not those of their annotations, or one has no contrast.
    """
    if len(images) < 2:
        raise InputError(f"Expected at least two annotated images in {name!r}, but got {len(images)}.")
    for truths in (regions, objects or regions):
        if [truth.shape for truth in truths] != [image.shape[1:] for image in images]:
            raise InputError(f"The annotations of {name!r} have not the sizes of its images.")
    return ImageGroup(
        name,
        tuple(_normalise(image, range(len(image))) for image in images),
        tuple(region.astype(np.uint8) for region in regions),
        None if objects is None else tuple(labels.astype(np.uint16) for labels in objects),
    )


def three_channels(image: npt.NDArray[Any], order: Sequence[int]) -> npt.NDArray[Any]:
    """Make three channels of any number: a grey one three times, two and their mean, or the first three of an order.

    Examples
    --------
    >>> three_channels(np.array([[1.0], [3.0]]), (0, 1)).ravel().tolist()
    [1.0, 3.0, 2.0]
    """
    if len(image) == 1:
        return np.repeat(image, 3, axis=0)
    if len(image) == 2:
        return np.concatenate([image, image.mean(axis=0, keepdims=True)])
    return image if len(image) == 3 else image[list(order[:3])]


def _normalise(image: npt.NDArray[Any], order: Sequence[int]) -> npt.NDArray[np.float16]:
    ndim = image.ndim - 1
    layout = ImageLayout("CZYX" if ndim == 3 else "CYX", image.shape, ndim)
    normalised = three_channels(measure_range(image, layout).apply(image), order)
    result: npt.NDArray[np.float16] = np.clip(normalised, _LOW, _HIGH).astype(np.float16)
    return result
