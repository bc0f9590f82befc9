"""Objects of a frame that does not fit into memory: block by block, the same as those of the whole frame.

Each block is gone through on its own. Objects that touch no other block are finished there. Of the others, the block
keeps its hills, the passes between them, and which pixels lead to a neighbour; a pixel's hill depends on its nearest
neighbours alone, so that blocks agree without overlap. Then all of these hills are joined over the faces, merged to
objects in the one order that the whole frame would have, and numbered; a second round writes the labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.errors import InputError
from napari_unet.predict.block_graph import BlockGrid, find_part, number_objects
from napari_unet.predict.instances import check_separation
from napari_unet.predict.landscape import read_landscape
from napari_unet.predict.part_shelf import PartShelf

__all__ = [
    "BlockCounted",
    "BlockLabelled",
    "BlockSearched",
    "ObjectEvent",
    "ObjectsCounted",
    "ObjectsFinished",
    "check_ids",
    "choose_block",
    "label_blocks",
    "label_objects",
]

_PIXELS = {1: 4_000_000, 2: 4_000_000, 3: 8_000_000}  # of a block, by dimensions


@dataclass(frozen=True)
class ObjectEvent:
    """Base of all events of a search for objects.

    Attributes
    ----------
    done, total : int
        Steps done so far and in all: each block is searched once, counted if that is asked for, and labelled once.
    seconds : float
        Seconds since the search began.
    """

    done: int
    total: int
    seconds: float


@dataclass(frozen=True)
class BlockSearched(ObjectEvent):
    """One more block is searched."""


@dataclass(frozen=True, eq=False)
class BlockCounted(ObjectEvent):
    """What the labels of one block will be, before any of them are to be written.

    Attributes
    ----------
    box : tuple of slice
        Where the block lies in the frame.
    labels : numpy.ndarray
        (\\*box) uint16 or uint32, 0 = background.
    """

    box: Box
    labels: npt.NDArray[Any]


@dataclass(frozen=True)
class ObjectsCounted(ObjectEvent):
    """All blocks are searched; the labels follow.

    Attributes
    ----------
    count : int
        Objects in the frame.
    dtype : numpy.dtype
        The smallest of uint16 and uint32 that holds their ids.
    """

    count: int
    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False)
class BlockLabelled(ObjectEvent):
    """The labels of one block.

    Attributes
    ----------
    box : tuple of slice
        Where the block lies in the frame.
    labels : numpy.ndarray
        (\\*box) uint16 or uint32, 0 = background.
    """

    box: Box
    labels: npt.NDArray[Any]


@dataclass(frozen=True)
class ObjectsFinished(ObjectEvent):
    """The last block is labelled, or the caller stopped it.

    Attributes
    ----------
    stopped : bool
        Whether the caller stopped it before the last block.
    """

    stopped: bool


def label_objects(
    foreground: Any,
    out: Any | None = None,
    *,
    block: int | Sequence[int] | None = None,
    threshold: float = 0.5,
    depth: float = 0.25,
    min_size: int = 16,
    spacing: Sequence[float] | None = None,
    scratch: str | Path | None = None,
) -> Any:
    """Find the objects of one frame of any size, in a fixed amount of memory.

    The objects and their ids are those that `napari_unet.predict.instances.separate_objects` finds in the whole
    frame, whatever the blocks are.

    Parameters
    ----------
    foreground : array-like
        (\\*space) probability of the foreground, 0..1: numpy, memory-mapped, dask, zarr, or anything with a `shape`
        that gives an array for ``foreground[box]``.
    out : array-like or None
        Where to write, (\\*space) integers: anything that takes ``out[box] = block``. None: a new array.
    block : int or sequence of int or None
        Side of the blocks, pixels, for all or each of the axes. None: about 4 million pixels (8 in a volume), in whole
        chunks of `out` where it has some.
    threshold, depth, min_size, spacing
        See `napari_unet.predict.instances.separate_objects`.
    scratch : path-like or None
        Folder for what is known of each block until the end. A search that was interrupted goes on from there, if it
        is called with the same foreground and settings; when all is done, the folder is removed. None: in memory
        where the frame is small, in a temporary folder otherwise.

    Returns
    -------
    array-like
        (\\*space) uint16, or uint32 for more than 65,535 objects; or `out`.

    Raises
    ------
    InputError
        If a setting is out of its range, `out` has another shape or too small a type, or `scratch` belongs to
        another search.

    Notes
    -----
    Memory is needed for one block, for 4 bytes for each object of the frame, and for the objects at faces between
    blocks: about 50 bytes for each of their pixels at a face, and 100 for each of their tops. The foreground may hang
    together over the whole frame.

    Examples
    --------
    >>> y, x = np.mgrid[:32, :64]
    >>> two = ((x - 20) ** 2 + (y - 16) ** 2 < 121) | ((x - 40) ** 2 + (y - 16) ** 2 < 121)
    >>> int(label_objects(two.astype(np.float32), block=13).max())
    2
    """
    shape = tuple(foreground.shape)
    if out is not None and tuple(out.shape) != shape:
        raise InputError(f"Expected `out` to have the shape {shape}, but got {tuple(out.shape)}.")
    if block is None:
        block = choose_block(shape, getattr(out, "chunks", None))
    for event in label_blocks(
        foreground, block=block, threshold=threshold, depth=depth, min_size=min_size, spacing=spacing, scratch=scratch
    ):
        if isinstance(event, ObjectsCounted):
            if out is None:
                out = np.zeros(shape, event.dtype)
            check_ids(out, event.count)
        elif isinstance(event, BlockLabelled):
            assert out is not None  # made when the objects were counted
            out[event.box] = event.labels
    return out


def label_blocks(
    foreground: Any,
    *,
    block: int | Sequence[int] | None = None,
    threshold: float = 0.5,
    depth: float = 0.25,
    min_size: int = 16,
    spacing: Sequence[float] | None = None,
    scratch: str | Path | None = None,
    focus: Sequence[float] | None = None,
    should_stop: Callable[[], bool] | None = None,
    counting: bool = False,
) -> Iterator[ObjectEvent]:
    """Find the objects of one frame block by block; see `label_objects`.

    Parameters
    ----------
    foreground, block, threshold, depth, min_size, spacing, scratch
        As in `label_objects`.
    focus : sequence of float or None
        A point in the frame: the nearest blocks come first.
    should_stop : callable or None
        Asked before each block; True ends the search.
    counting : bool
        Whether all labels are also shown before any of them is to be written, for a caller who has to compare them.

    Yields
    ------
    ObjectEvent
        `BlockSearched` for each block, `BlockCounted` for each block where that is asked for, `ObjectsCounted`,
        `BlockLabelled` for each block, and `ObjectsFinished`.
    """
    check_separation(threshold, depth)
    began = time.monotonic()
    shape = tuple(foreground.shape)
    grid = BlockGrid(shape, _sides(shape, block))
    order = grid.order(focus)
    done, total = 0, (3 if counting else 2) * len(order)
    settings = {
        "shape": shape, "block": grid.sides, "threshold": threshold, "depth": depth, "min_size": min_size,
        "spacing": None if spacing is None else tuple(map(float, spacing)),
    }  # fmt: skip

    def stopped() -> bool:
        return should_stop is not None and should_stop()

    def progress() -> tuple[int, int, float]:
        return done, total, time.monotonic() - began

    with PartShelf(scratch, settings, pixels=int(np.prod(shape, dtype=np.int64))) as shelf:
        for number in order:
            if stopped():
                yield ObjectsFinished(*progress(), stopped=True)
                return
            if not shelf.has(number):
                landscape = read_landscape(foreground, grid.box(number), threshold=threshold, spacing=spacing)
                shelf.put(number, find_part(landscape, grid, number, depth=depth, min_size=min_size))
            done += 1
            yield BlockSearched(*progress())
        tables, count = number_objects(shelf, grid, depth=depth, min_size=min_size)
        dtype = np.dtype(np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32)
        for kind in (BlockCounted, BlockLabelled) if counting else (BlockLabelled,):
            if kind is BlockLabelled:
                yield ObjectsCounted(*progress(), count=count, dtype=dtype)
            for number in order:
                if stopped():
                    yield ObjectsFinished(*progress(), stopped=True)
                    return
                labels = tables[number].astype(dtype)[shelf.get(number, "labels")]
                done += 1
                yield kind(*progress(), box=grid.box(number), labels=labels)
        shelf.clear()
    yield ObjectsFinished(*progress(), stopped=False)


def check_ids(labels: Any, count: int) -> None:
    """Check that an array can hold the ids of so many objects.

    Raises
    ------
    InputError
        If its type is too small.
    """
    if np.iinfo(labels.dtype).max < count:
        raise InputError(f"The {count:,} objects need larger numbers than {labels.dtype}; make `out` with uint32.")


def choose_block(shape: Sequence[int], chunks: Sequence[int] | None = None) -> tuple[int, ...]:
    """Choose the sides of the blocks of a frame, in whole chunks of where the labels are written.

    Examples
    --------
    >>> choose_block((40_000, 40_000)), choose_block((64, 2048, 2048)), choose_block((3000, 5000), (512, 512))
    ((2000, 2000), (64, 353, 354), (1536, 2560))
    """
    sides = [0] * len(shape)
    left = _PIXELS[len(shape)]
    for place, axis in enumerate(np.argsort(shape, kind="stable").tolist()):
        side = min(shape[axis], int(left ** (1 / (len(shape) - place))))
        chunk = chunks[axis] if chunks else 1
        sides[axis] = max(1, side // chunk) * chunk
        left = max(1, left // sides[axis])
    return tuple(sides)


def _sides(shape: tuple[int, ...], block: int | Sequence[int] | None) -> tuple[int, ...]:
    if block is None:
        return choose_block(shape)
    sides = (block,) * len(shape) if isinstance(block, int) else tuple(block)
    if len(sides) != len(shape) or min(sides) < 1:
        raise InputError(f"Expected `block` to be at least 1 pixel along each of {len(shape)} axes, but got {block}.")
    return tuple(min(side, max(1, size)) for side, size in zip(sides, shape, strict=True))
