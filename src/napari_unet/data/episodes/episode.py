"""One episode: two images of the same kind, the support and the query, and strokes for several tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_unet.data.episodes.filtered import draw_responses
from napari_unet.data.episodes.group import ImageGroup
from napari_unet.data.episodes.task import common_things, draw_classes, draw_things
from napari_unet.data.episodes.view import draw_exposure, draw_look, draw_turn, draw_view, draw_zoom
from napari_unet.data.quick_strokes import quick_strokes

__all__ = ["Episode", "PaintedTask", "draw_episode"]

_AIMED = 0.8  # share of the episodes that look at a thing chosen before
_BOTH = 0.35  # share of the tasks in which the query is painted, too
_FILTERED = 0.25  # share of the tasks that ask where a filter responds
_TRIES = 2  # for each task that is wanted
_THINGS = 2  # least that there are, or objects
_MOST_STROKES = 20  # of a class
_MOST_SLICES = 3  # of a stack that are painted


@dataclass(frozen=True, eq=False)
class PaintedTask:
    """What shall be told apart in the images of an episode, and strokes that say so.

    Attributes
    ----------
    classes : numpy.ndarray
        (2, \\*space) uint8, the truth: 0 background, 1, 2, ...
    painted : numpy.ndarray
        (n,) int64: which pixels are painted, each with its true class, counted along (2, \\*space): first those of the
        support, then those of the query, if it is painted, too.
    count : int
        Number of classes, background included; all of them are painted on the support.
    """

    classes: npt.NDArray[np.uint8]
    painted: npt.NDArray[np.int64]
    count: int


@dataclass(frozen=True, eq=False)
class Episode:
    """What a network learns from once.

    Its features do not depend on what is looked for, so that several tasks cost little more than one, and ask for
    features that serve all of them.

    Attributes
    ----------
    images : numpy.ndarray
        (2, 3, \\*space) float16, the support and the query.
    tasks : tuple of PaintedTask
        At least one.
    source : str
        Name of the group that the images are of.
    """

    images: npt.NDArray[np.float16]
    tasks: tuple[PaintedTask, ...]
    source: str


def draw_episode(
    rng: np.random.Generator, group: ImageGroup, shape: tuple[int, ...], tasks: int = 1, exposed: float = 0.0
) -> Episode | None:
    """Draw two images of a group, and tasks with strokes.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    group : ImageGroup
        The images.
    shape : tuple of int
        Pixels of the pieces along each spatial axis.
    tasks : int
        How many tasks; fewer where the pieces do not show enough.
    exposed : float
        How probable it is that either image differs from others of its kind in contrast and light (`draw_exposure`).

    Returns
    -------
    Episode or None
        None where the pieces have not two things in common, or too little room to paint.
    """
    chosen = rng.choice(len(group.images), 2, replace=False).tolist()
    regions = [group.regions[i] for i in chosen]
    things = common_things(regions, 0.0)
    thing = int(rng.choice(things)) if things and rng.random() < _AIMED else None
    zoom = draw_zoom(rng, np.min([m.shape for m in regions], axis=0).tolist(), shape)
    views = [draw_view(rng, m, thing, zoom, shape) for m in regions]
    look, turn = draw_look(rng), draw_turn(rng, shape)
    maps = [turn(view.labels(m)) for view, m in zip(views, regions, strict=True)]
    objects = group.objects and [turn(view.labels(group.objects[i])) for view, i in zip(views, chosen, strict=True)]
    if objects is None and len(common_things(maps)) < _THINGS:
        return None
    images = turn(np.stack([look(view.image(group.images[i])) for view, i in zip(views, chosen, strict=True)]))
    drawn: list[PaintedTask] = []
    for _ in range(_TRIES * tasks):
        filtered = rng.random() < _FILTERED
        task = _draw_task(rng, draw_responses(rng, images) if filtered else draw_things(rng, maps, objects or None))
        if task is not None:
            drawn.append(task)
        if len(drawn) == tasks:
            break
    if exposed > 0:
        images = np.stack([image if rng.random() > exposed else draw_exposure(rng, shape)(image) for image in images])
    return Episode(images.astype(np.float16), tuple(drawn), group.name) if drawn else None


def _draw_task(rng: np.random.Generator, maps: list[npt.NDArray[np.uint8]]) -> PaintedTask | None:
    """Draw what is foreground and paint it; None where that can't be."""
    task = draw_classes(rng, maps)
    if task is None:
        return None
    classes, count = np.stack(task[0]), task[1]
    strokes = np.zeros_like(classes)
    for number in range(2 if rng.random() < _BOTH else 1):
        strokes[number] = _paint(rng, classes[number], count)
    if len(np.unique(strokes[0])) != count + 1:
        return None
    return PaintedTask(classes, np.flatnonzero(strokes).astype(np.int64), count)


def _paint(rng: np.random.Generator, truth: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """Paint 1 to 20 strokes of each class, about equally many; of a stack a few slices, those with most classes first.

    Few strokes are as likely as many: the number is uniform on a logarithmic scale.
    """
    number = np.exp(rng.uniform(0, np.log(_MOST_STROKES))) * np.exp(rng.normal(0, 0.3, count))
    width = float(rng.choice([1.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0]))
    if truth.ndim == 2:
        return quick_strokes(truth, np.maximum(1, number.round()).astype(int).tolist(), rng, width=width)
    painted = np.zeros(truth.shape, np.uint8)
    present = [len(np.unique(plane)) for plane in truth]
    order = sorted(rng.permutation(len(truth)).tolist(), key=lambda z: -present[z])
    slices = order[: rng.integers(1, _MOST_SLICES + 1)]
    each = np.maximum(1, (number / len(slices)).round()).astype(int).tolist()
    for z in slices:
        painted[z] = quick_strokes(truth[z], each, rng, width=width)
    return painted
