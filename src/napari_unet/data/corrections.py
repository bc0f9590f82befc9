"""Correcting a result by hand: objects accepted or rejected, split, merged, outlined, and strokes taken away.

Each tool says which strokes come of what a person drew, and how the result looks once they are learnt. It reads only
what lies around the drawing, and changes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.axes import Box
from napari_unet.data.changes import Change, Painting
from napari_unet.data.drawing import Mask, Points, box_around, brush_mask, enclosed_mask, line_pixels
from napari_unet.data.regions import Index, Plane, Region, regions_at, regions_within
from napari_unet.data.strokes import BACKGROUND, UNLABELLED
from napari_unet.errors import AnnotationError

__all__ = ["Correction", "Scene", "accept", "erase", "fill", "is_click", "merge", "reject", "split"]

_NAMES = {"objects": "object", "classes": "area"}
_STILL = 3.0  # pixels within which the pointer may move during a click
_RING = 2  # pixels of background that are painted around what was accepted
_BORDER = 3.0  # width of the background that is painted where an object is split
_SMALLEST_PART = 0.05  # of an object; what a line cuts off beyond that is no part of its own
_FEWEST = 4  # pixels of a part
_IDS_LOOKED_AT = 65536
_CORE = 0.5  # how deep in a part, of its greatest depth, a pixel is surely of it


@dataclass(frozen=True, eq=False)
class Correction:
    """What comes of one use of a tool.

    Attributes
    ----------
    strokes : Change
        For the annotation.
    result : Change or None
        For the result that is shown, until the network has learnt the strokes.
    text : str
        What was done, in a few words.
    """

    strokes: Change
    result: Change | None
    text: str


@dataclass(frozen=True, eq=False)
class Scene:
    """What a tool is used on.

    Attributes
    ----------
    strokes : array-like
        The annotation: 0 unlabelled, 1 background, 2, 3, ... classes or one id for each object.
    result : array-like
        Labels of the same shape. For objects 0 is background and 1, 2, ... are ids; for classes 0 is not known yet,
        1 background, 2, 3, ... are classes.
    plane : tuple of int or None
        What the person looks at and draws on, see `Plane.index`.
    frame : tuple of int or None
        What a network reads at once: the same plane, or the volume around it.
    task : {"objects", "classes"}
        What the labels are.
    new_label : int
        For objects the first label that no object of the annotation has.
    """

    strokes: Any
    result: Any
    plane: Index
    frame: Index
    task: str
    new_label: int

    @property
    def nothing(self) -> int:
        """What the result is where there is no object and no class."""
        return 0 if self.task == "objects" else BACKGROUND

    @property
    def first(self) -> int:
        """The lowest label of an object or class in the result."""
        return self.nothing + 1

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the plane."""
        rows, columns = Plane(self.result, self.plane).shape
        return rows, columns

    def lift(self, pixels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return where pixels (n, 2) of the plane are in the frame, (n, axes of the frame)."""
        places = Plane(self.result, self.plane).locate(pixels)
        return np.stack([places[axis] for axis in Plane(self.result, self.frame).axes], axis=1)


def accept(scene: Scene, path: Points) -> Correction:
    """Take objects, or areas of a class, over into the annotation.

    Each object gets a label of its own, and a narrow ring of background around it where nothing is painted and the
    result shows none either, so that its outline is learnt, too.

    Parameters
    ----------
    scene : Scene
        What is worked on.
    path : numpy.ndarray
        (n, 2) places in the plane: a click on an object, or an outline around those of which more than half is in it.

    Raises
    ------
    AnnotationError
        If there is no object.

    Examples
    --------
    >>> result = np.array([[0, 0, 0, 0], [0, 5, 5, 0], [0, 0, 0, 0]], np.uint16)
    >>> whole = (None, None)
    >>> scene = Scene(np.zeros_like(result), result, whole, whole, "objects", 3)
    >>> change = accept(scene, np.array([[1.0, 1.0]])).strokes
    >>> strokes = np.zeros_like(result); strokes[change.indices] = change.values
    >>> strokes.tolist()
    [[1, 1, 1, 1], [1, 3, 3, 1], [1, 1, 1, 1]]
    """
    regions = _chosen_regions(scene, path)
    strokes = Plane(scene.strokes, scene.frame)
    result = Plane(scene.result, scene.frame)
    painted = Painting()
    for label, region in enumerate(regions, start=scene.new_label):
        if region.label >= scene.first:
            painted.add_pixels(_ring(region, strokes, result, scene.nothing), BACKGROUND)
        painted.add(region.box, region.mask, label if scene.task == "objects" else region.label)
    return Correction(painted.change(strokes), None, f"{_many(len(regions), scene)} accepted")


def reject(scene: Scene, path: Points) -> Correction:
    """Turn objects, or areas of a class, into strokes of background; see `accept`."""
    regions = _chosen_regions(scene, path, lowest=scene.first)
    painted, shown = Painting(), Painting()
    for region in regions:
        painted.add(region.box, region.mask, BACKGROUND)
        shown.add(region.box, region.mask, scene.nothing)
    return Correction(
        painted.change(Plane(scene.strokes, scene.frame)),
        shown.change(Plane(scene.result, scene.frame)),
        f"{_many(len(regions), scene)} rejected",
    )


def _chosen_regions(scene: Scene, path: Points, lowest: int = 1) -> list[Region]:
    """Return the regions of the frame that were clicked on or encircled."""
    plane = Plane(scene.result, scene.plane)
    if is_click(path):
        pixels = line_pixels(path, scene.shape)
        found = regions_at(plane, pixels[:1], lowest=lowest) if len(pixels) else []
    else:
        found = regions_within(plane, *_inside_of(scene, path), lowest=scene.first)
    if not found:
        raise AnnotationError(f"There is no {_NAMES[scene.task]} in the result there.")
    if scene.frame == scene.plane:
        return found
    inside = np.concatenate([region.pixels[:1] for region in found])
    return regions_at(Plane(scene.result, scene.frame), scene.lift(inside), lowest=lowest)


def is_click(path: Points) -> bool:
    """Whether the pointer stayed within a few pixels.

    Examples
    --------
    >>> is_click(np.array([[4.0, 7.0], [4.6, 7.0]])), is_click(np.array([[4.0, 7.0], [4.0, 17.0]]))
    (True, False)
    """
    return bool(np.ptp(path, axis=0).max() <= _STILL)


def _ring(region: Region, strokes: Plane, result: Plane, nothing: int) -> npt.NDArray[np.intp]:
    """Return the pixels around a region that are neither painted nor anything in the result."""
    box: Box = tuple(
        slice(max(0, part.start - _RING), min(size, part.stop + _RING))
        for part, size in zip(region.box, result.shape, strict=True)
    )
    mask = region.mask_in(box)
    around = ndimage.binary_dilation(mask, np.ones((3,) * mask.ndim), iterations=_RING) & ~mask
    around &= (result.read(box) == nothing) & (strokes.read(box) == UNLABELLED)
    found: npt.NDArray[np.intp] = np.argwhere(around) + [part.start for part in box]
    return found


def split(scene: Scene, path: Points) -> Correction:
    """Cut objects, or areas of a class, apart along a line.

    The line becomes a narrow stroke of background, and the middle of each part a stroke of its own. What was painted in
    an object before goes to the part where it is.

    Parameters
    ----------
    scene : Scene
        What is worked on.
    path : numpy.ndarray
        (n, 2) places of the line in the plane; it goes through each object from side to side.

    Raises
    ------
    AnnotationError
        If the line cuts nothing apart.
    """
    plane, strokes = Plane(scene.result, scene.plane), Plane(scene.strokes, scene.plane)
    line = line_pixels(path, scene.shape)
    painted, shown = Painting(), Painting()
    labels, ids = count(scene.new_label), _free_ids(plane, scene)
    cuts = 0
    for region in regions_at(plane, line, lowest=scene.first):
        cut = brush_mask(line, 1, region.box) & region.mask
        parts = _parts(region.mask & ~cut)
        if len(parts) < 2:
            continue
        cuts += 1
        border = brush_mask(line, _BORDER, region.box) & region.mask
        was_object = strokes.read(region.box) > BACKGROUND
        for number, part in enumerate(parts):
            depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
            middle = depth >= _CORE * depth.max()
            if scene.task == "objects":
                painted.add(region.box, middle | (part & was_object), next(labels))
                if number > 0:
                    shown.add(region.box, part, next(ids))
            else:
                painted.add(region.box, middle, region.label)
        painted.add(region.box, border, BACKGROUND)
        shown.add(region.box, cut, scene.nothing)
    if not cuts:
        raise AnnotationError(f"Draw the line through an {_NAMES[scene.task]}, from one side of it to the other.")
    return Correction(painted.change(strokes), shown.change(plane), f"{_many(cuts, scene)} split")


def _parts(mask: Mask) -> list[Mask]:
    """Return the parts of a mask that touch along sides, the largest first, without crumbs."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    smallest = max(_FEWEST, _SMALLEST_PART * mask.sum())
    return [labels == number + 1 for number in np.argsort(-sizes, kind="stable") if sizes[number] >= smallest]


def merge(scene: Scene, path: Points, width: float) -> Correction:
    """Join objects with a stroke that leads from one to the other.

    The stroke is painted from where it leaves the first to where it meets the last, with the label that all strokes in
    these objects then have. Areas of a class are joined in the same way, with the class of the first.

    Parameters
    ----------
    scene : Scene
        What is worked on.
    path : numpy.ndarray
        (n, 2) places in the plane.
    width : float
        Of the brush, pixels.

    Raises
    ------
    AnnotationError
        If the stroke does not touch two objects.
    """
    plane, strokes = Plane(scene.result, scene.plane), Plane(scene.strokes, scene.plane)
    line = line_pixels(path, scene.shape)
    regions = regions_at(plane, line, lowest=scene.first)
    if scene.task == "classes":
        regions = [region for region in regions if region.label == regions[0].label]
    if len(regions) < 2:
        raise AnnotationError(f"Lead the stroke from one {_NAMES[scene.task]} to the other.")
    touched = np.flatnonzero(np.logical_or.reduce([region.contains(line) for region in regions]))
    bridge = line[touched[0] : touched[-1] + 1]
    box = box_around(bridge, int(width / 2) + 1, scene.shape)
    stroke = brush_mask(bridge, width, box)
    painted, shown = Painting(), Painting()
    label = scene.new_label if scene.task == "objects" else regions[0].label
    for region in regions:
        was_object = strokes.read(region.box) > BACKGROUND
        if scene.task == "objects":
            painted.add(region.box, region.mask & was_object, label)
        shown.add(region.box, region.mask, regions[0].label)
    painted.add(box, stroke, label)
    shown.add(box, stroke, regions[0].label)
    return Correction(painted.change(strokes), shown.change(plane), f"{_many(len(regions), scene)} merged")


def fill(scene: Scene, outline: Points, label: int) -> Correction:
    """Paint all that an outline encloses.

    Parameters
    ----------
    scene : Scene
        What is worked on.
    outline : numpy.ndarray
        (n, 2) places in the plane.
    label : int
        1 for background, or a class; for objects, any other gives the outlined one a label of its own.

    Raises
    ------
    AnnotationError
        If nothing is enclosed.
    """
    plane, strokes = Plane(scene.result, scene.plane), Plane(scene.strokes, scene.plane)
    box, inside = _enclosed(scene, outline)
    painted, shown = Painting(), Painting()
    is_object = scene.task == "objects" and label > BACKGROUND
    painted.add(box, inside, scene.new_label if is_object else label)
    if label == BACKGROUND:
        shown.add(box, inside, scene.nothing)
    else:
        shown.add(box, inside, next(_free_ids(plane, scene)) if is_object else label)
    return Correction(painted.change(strokes), shown.change(plane), "outline filled")


def erase(scene: Scene, path: Points) -> Correction:
    """Take strokes away: the one that is clicked on, or all inside of an outline.

    Raises
    ------
    AnnotationError
        If there are no strokes.
    """
    strokes = Plane(scene.strokes, scene.plane)
    painted = Painting()
    if is_click(path):
        pixels = line_pixels(path, scene.shape)
        for region in regions_at(strokes, pixels[:1], lowest=BACKGROUND) if len(pixels) else []:
            painted.add(region.box, region.mask, UNLABELLED)
    else:
        box, inside = _enclosed(scene, path)
        painted.add(box, inside & (strokes.read(box) != UNLABELLED), UNLABELLED)
    change = painted.change(strokes)
    if not change.values.size:
        raise AnnotationError("There are no strokes there.")
    return Correction(change, None, "strokes erased")


def _inside_of(scene: Scene, outline: Points) -> tuple[Box, Mask]:
    """Return what an outline encloses of the image, which it may leave."""
    pixels = line_pixels(np.clip(outline, 0, np.array(scene.shape) - 1), scene.shape)
    box = box_around(pixels, 0, scene.shape)
    return box, enclosed_mask(outline, box)


def _enclosed(scene: Scene, outline: Points) -> tuple[Box, Mask]:
    box, inside = _inside_of(scene, outline)
    if is_click(outline) or not inside.any():
        raise AnnotationError("Draw around what you mean, with the mouse button held down.")
    return box, inside


def _free_ids(plane: Plane, scene: Scene) -> Iterator[int]:
    """Yield ids that no object of the plane has; where there are none left, the highest one."""
    most = int(np.iinfo(plane.data.dtype).max)
    whole = plane.read(tuple(slice(0, size) for size in plane.shape)) if scene.task == "objects" else np.zeros(1, int)
    free = np.flatnonzero(np.bincount(whole.ravel(), minlength=_IDS_LOOKED_AT) == 0)
    free = free[(free > 0) & (free <= most)]
    yield from free.tolist()
    yield from count(min(most, int(whole.max()) + 1), 0)


def _many(number: int, scene: Scene) -> str:
    return f"{number} {_NAMES[scene.task]}{'s' * (number != 1)}"
