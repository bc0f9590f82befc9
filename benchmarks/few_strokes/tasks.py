"""The tasks of the race: real annotated images, some of them painted with a few strokes, others to be segmented.

Painted and segmented images never overlap; for the heart they are of different patients. The shipped starting
weights have seen none of these sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_unet.data.sample import Sample
from napari_unet.data.simulated_strokes import simulate_strokes

__all__ = ["SETS", "Episode", "TestImage", "draw_episode", "load_set", "task_of"]

STROKE_LENGTH = 20.0
STROKE_WIDTH = 3.0
_TESTED = 5
_SLICES_3D = 3


@dataclass(frozen=True, eq=False)
class TestImage:
    """An image to segment and the truth about it.

    Attributes
    ----------
    image : numpy.ndarray
        With the axes `axes`.
    objects : numpy.ndarray
        (\\*space) uint16; 0 background, one id for each object, or 1 = foreground.
    axes : str
        Axes of `image`.
    group : str
        What images must not share between painting and testing: the patient, for example.
    """

    image: npt.NDArray[Any]
    objects: npt.NDArray[Any]
    axes: str
    group: str


@dataclass(frozen=True)
class ImageSet:
    """How a set is read.

    Attributes
    ----------
    file : str
        Name of the archive.
    read : callable
        From the archive to its images.
    has_objects : bool
        Whether the labels tell single objects apart.
    spacing : tuple of float or None
        Distance of voxels; None: equal.
    """

    file: str
    read: Callable[[dict[str, Any]], Iterator[TestImage]]
    has_objects: bool = False
    spacing: tuple[float, ...] | None = None


def _numbered(axes: str) -> Callable[[dict[str, Any]], Iterator[TestImage]]:
    def read(archive: dict[str, Any]) -> Iterator[TestImage]:
        for name in sorted(key for key in archive if key.startswith("image_")):
            labels = archive[name.replace("image", "label")]
            yield TestImage(archive[name], labels, axes, name)

    return read


def _stacked(labels: str, axes: str) -> Callable[[dict[str, Any]], Iterator[TestImage]]:
    def read(archive: dict[str, Any]) -> Iterator[TestImage]:
        for number, (image, truth) in enumerate(zip(archive["images"], archive[labels], strict=True)):
            yield TestImage(image, truth.astype(np.uint16), axes, str(number))

    return read


def _left_ventricle(archive: dict[str, Any]) -> Iterator[TestImage]:
    for image, cavity, patient in zip(archive["images"], archive["lv_cavity"], archive["patient"], strict=True):
        if np.count_nonzero(cavity) > 60:  # slices beyond the ventricle's ends hold nothing to paint
            yield TestImage(image, (cavity > 0).astype(np.uint16), "YX", str(patient))


def _membranes(archive: dict[str, Any]) -> Iterator[TestImage]:
    for image in _stacked("membrane", "YX")(archive):
        yield TestImage(image.image, (image.objects > 0).astype(np.uint16), "YX", image.group)


SETS = {
    "nuclei_fluo": ImageSet("nuclei_fluo_dsb2018", _numbered("YX"), has_objects=True),
    "nuclei_he": ImageSet("nuclei_he_dsb2018", _stacked("labels", "YXS"), has_objects=True),
    "isbi2012_em": ImageSet("isbi2012_em", _membranes),
    "ct_lung_2d": ImageSet("ct_lung_2d", _stacked("lung", "YX")),
    "mri_lv": ImageSet("mri_lv_sunnybrook", _left_ventricle),
    "embryo_nuclei_3d": ImageSet("embryo_nuclei_3d", _numbered("ZYX"), has_objects=True, spacing=(1.75, 0.8, 0.8)),
    "mri_hippocampus_3d": ImageSet("mri_hippocampus_3d", _numbered("ZYX")),
}


@dataclass(frozen=True, eq=False)
class Episode:
    """One run of the race.

    Attributes
    ----------
    name : str
        Name of the set.
    ndim : int
        2 or 3.
    has_objects : bool
        Whether single objects are scored, too.
    support : list of Sample
        The painted images; 1 = background, 2 = foreground.
    query : list of TestImage
        The images to segment.
    """

    name: str
    ndim: int
    has_objects: bool
    support: list[Sample]
    query: list[TestImage]


def task_of(images: ImageSet | Episode) -> Literal["objects", "classes"]:
    """Return what strokes on images of a set mean."""
    return "objects" if images.has_objects else "classes"


@lru_cache(maxsize=2)
def load_set(name: str, folder: Path) -> tuple[TestImage, ...]:
    """Read all images of a set."""
    with np.load(folder / f"{SETS[name].file}.npz", allow_pickle=False) as archive:
        return tuple(SETS[name].read({key: archive[key] for key in archive.files}))


def draw_episode(name: str, strokes: int | None, seed: int, folder: Path) -> Episode:
    """Choose images to paint and to test, and paint them.

    Parameters
    ----------
    name : str
        A key of `SETS`.
    strokes : int or None
        Strokes for each class, on one image up to 5, on two beyond; None: two images painted completely.
    seed : int
        Chooses images and strokes.
    folder : Path
        Where the archives are.
    """
    images = load_set(name, folder)
    rng = np.random.default_rng(1000 + seed)
    order = [images[i] for i in rng.permutation(len(images))]
    painted = order[:1] if strokes is not None and strokes <= 5 else [order[0], _second(order)]
    groups = {image.group for image in painted}
    query = [image for image in order if image.group not in groups][:_TESTED]
    shares = [strokes] if len(painted) == 1 else [strokes and strokes - strokes // 2, strokes and strokes // 2]
    ndim = 3 if "Z" in painted[0].axes else 2
    spacing = SETS[name].spacing
    support = [
        Sample(image.image, _paint(image, share, seed * 7 + i), image.axes, spacing, image.group)
        for i, (image, share) in enumerate(zip(painted, shares, strict=True))
    ]
    return Episode(name, ndim, SETS[name].has_objects, support, query)


def _second(order: list[TestImage]) -> TestImage:
    """Return the next image of the first one's group, so that the others stay for the test; else simply the next."""
    return next((image for image in order[1:] if image.group == order[0].group), order[1])


def _paint(image: TestImage, strokes: int | None, seed: int) -> npt.NDArray[np.uint8]:
    truth = (image.objects > 0).astype(np.uint8)
    if strokes is None:
        return truth + np.uint8(1)
    slices = None
    if truth.ndim == 3:  # the slices with most foreground third by third
        area = truth.sum(axis=(1, 2))
        slices = [int(part[np.argmax(area[part])]) for part in np.array_split(np.arange(len(area)), _SLICES_3D)]
        strokes = max(1, round(strokes / _SLICES_3D))
    painted = simulate_strokes(
        truth, task="classes", strokes_per_class=strokes, length=STROKE_LENGTH, width=STROKE_WIDTH, slices=slices,
        seed=seed,
    )  # fmt: skip
    return painted.astype(np.uint8)
