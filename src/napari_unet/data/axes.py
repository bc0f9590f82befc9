"""What each axis of an array means, and how the array falls apart into the frames that a network reads.

An image may have the axes T (time), C (channel), Z, Y, X in any order, and S for interleaved RGB(A) samples, which are
channels too. A 2D network reads frames with the axes (C, Y, X), a 3D network frames with (C, Z, Y, X); what is left
(T, and Z for a 2D network) is the stack that is gone through frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.errors import InputError

__all__ = ["Box", "ImageLayout", "guess_axes"]

Box = tuple[slice, ...]

_LETTERS = "TCZYXS"
_GUESSES = {2: "YX", 3: "ZYX", 4: "CZYX", 5: "TCZYX"}


def guess_axes(shape: Sequence[int], *, rgb: bool | None = None) -> str:
    """Say what the axes of an array most likely are.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    rgb : bool or None
        Whether the last axis holds RGB(A) samples; None: it does if it has 3 or 4 elements and the two axes before it
        have more.

    Returns
    -------
    str
        One letter for each axis; two axes are ``YX``, three ``ZYX``, four ``CZYX``, five ``TCZYX``, RGB(A) apart.

    Raises
    ------
    InputError
        For fewer than 2 or more than 6 axes.

    Examples
    --------
    >>> guess_axes((20, 64, 64)), guess_axes((256, 320, 3))
    ('ZYX', 'YXS')
    """
    shape = tuple(shape)
    if rgb is None:
        rgb = len(shape) >= 3 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 4
    plain = len(shape) - int(rgb)
    if rgb and plain in (3, 4):
        return {3: "ZYX", 4: "TZYX"}[plain] + "S"
    if plain not in _GUESSES:
        raise InputError(f"Expected an image with 2 to 5 axes, but got the shape {shape}.")
    return _GUESSES[plain] + ("S" if rgb else "")


@dataclass(frozen=True)
class ImageLayout:
    """The axes of one image, seen by a network with `ndim` spatial axes.

    Attributes
    ----------
    axes : str
        One letter for each axis of the image.
    shape : tuple of int
        Shape of the image.
    ndim : int
        2 or 3: how many of the axes ZYX the network reads at once.

    Raises
    ------
    InputError
        If the letters don't fit the shape or the network.

    Examples
    --------
    >>> layout = ImageLayout("TCYX", (5, 2, 64, 48), ndim=2)
    >>> layout.channels, layout.stack_shape, layout.frame_shape, layout.label_shape
    (2, (5,), (64, 48), (5, 64, 48))
    """

    axes: str
    shape: tuple[int, ...]
    ndim: int = 2

    def __post_init__(self) -> None:
        axes = self.axes.upper()
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        unknown = sorted(set(axes) - set(_LETTERS))
        if unknown or len(set(axes)) != len(axes):
            raise InputError(f"Expected the axes to be different letters of {_LETTERS}, but got {self.axes!r}.")
        if len(axes) != len(self.shape):
            raise InputError(
                f"Expected one letter for each of {len(self.shape)} axes, but got {axes!r} for {self.shape}."
            )
        if "C" in axes and "S" in axes:
            raise InputError(
                f"An image with both channels (C) and colour samples (S) can't be used; its axes are {axes!r}."
            )
        missing = sorted(set(self.space_letters) - set(axes))
        if missing:
            raise InputError(f"A {self.ndim}D network needs the axes {self.space_letters}, but the image has {axes!r}.")
        if 0 in self.shape:
            raise InputError(f"The image is empty: its shape is {self.shape}.")

    @property
    def space_letters(self) -> str:
        """``"YX"`` or ``"ZYX"``."""
        return "ZYX"[-self.ndim :]

    @cached_property
    def channel_axis(self) -> int | None:
        """Position of the channel axis in the image, or None."""
        position = max(self.axes.find("C"), self.axes.find("S"))
        return None if position < 0 else position

    @property
    def channels(self) -> int:
        """Channels that a network gets; the alpha of RGBA is left out."""
        if self.channel_axis is None:
            return 1
        count = self.shape[self.channel_axis]
        return 3 if self.axes[self.channel_axis] == "S" and count == 4 else count

    @cached_property
    def label_axes(self) -> str:
        """The image's axes without the channel axis: what annotations and results have."""
        return self.axes.replace("C", "").replace("S", "")

    @cached_property
    def label_shape(self) -> tuple[int, ...]:
        """Shape along `label_axes`."""
        return tuple(self.shape[self.axes.index(letter)] for letter in self.label_axes)

    @cached_property
    def space_axes(self) -> list[int]:
        """Places of `space_letters` in `label_axes`."""
        return [self.label_axes.index(letter) for letter in self.space_letters]

    @cached_property
    def stack_letters(self) -> str:
        """The axes that are gone through frame by frame, in the image's order."""
        return "".join(letter for letter in self.label_axes if letter not in self.space_letters)

    @cached_property
    def stack_shape(self) -> tuple[int, ...]:
        """Shape along `stack_letters`."""
        return tuple(self.shape[self.axes.index(letter)] for letter in self.stack_letters)

    @cached_property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame along `space_letters`."""
        return tuple(self.shape[self.axes.index(letter)] for letter in self.space_letters)

    def frames(self) -> Iterator[tuple[int, ...]]:
        """Go through the positions in the stack; one empty position if there is no stack."""
        return product(*(range(n) for n in self.stack_shape))

    def bounds(self, region: Box | None) -> Box:
        """Say where a region with the axes `label_axes` begins and ends in this image; None: all of it.

        Raises
        ------
        InputError
            If there is not one slice for each axis.
        """
        given = region or (slice(None),) * len(self.label_axes)
        if len(given) != len(self.label_axes):
            raise InputError(f"Expected the region to have one slice for each of {self.label_axes}, but got {given}.")
        return tuple(slice(*part.indices(size)[:2]) for part, size in zip(given, self.label_shape, strict=True))

    def frames_in(self, region: Box | None) -> tuple[list[tuple[int, ...]], Box]:
        """List the positions in the stack that a region with the axes `label_axes` holds, and its box in each frame.

        Raises
        ------
        InputError
            If there is not one slice for each axis.

        Examples
        --------
        >>> ImageLayout("TYX", (9, 40, 50)).frames_in((slice(3, 5), slice(0, 16), slice(16, None)))
        ([(3,), (4,)], (slice(0, 16, None), slice(16, 50, None)))
        """
        spans = dict(zip(self.label_axes, self.bounds(region), strict=True))
        stack = (range(spans[letter].start, spans[letter].stop) for letter in self.stack_letters)
        return list(product(*stack)), tuple(spans[letter] for letter in self.space_letters)

    def read(self, image: Any, position: tuple[int, ...], box: Box) -> npt.NDArray[Any]:
        """Read a box of one frame, and nothing else, from an array of any kind.

        Parameters
        ----------
        image : array-like
            The image: numpy, memory-mapped, dask or zarr.
        position : tuple of int
            Position in the stack.
        box : tuple of slice
            Part of the frame along `space_letters`.

        Returns
        -------
        numpy.ndarray
            (C, \\*box) of the image's dtype.
        """
        chosen = dict(zip(self.stack_letters, position, strict=True)) | dict(zip(self.space_letters, box, strict=True))
        index: list[Any] = [chosen.get(letter, slice(0, self.channels)) for letter in self.axes]
        block = np.asarray(image[tuple(index)])
        kept = [letter for letter in self.axes if letter not in self.stack_letters]
        if self.channel_axis is None:
            block, kept = block[np.newaxis], ["C", *kept]
        order = [next(i for i, letter in enumerate(kept) if letter in "CS")]
        order += [kept.index(letter) for letter in self.space_letters]
        return block.transpose(order)

    def read_labels(self, labels: Any, position: tuple[int, ...], box: Box | None = None) -> npt.NDArray[Any]:
        """Read a box of one frame from an array with the axes `label_axes`; returns (\\*box) in ZYX order."""
        block = np.asarray(labels[self.label_box(position, box or (slice(None),) * self.ndim, keep_stack=False)])
        kept = [letter for letter in self.label_axes if letter in self.space_letters]
        return block.transpose([kept.index(letter) for letter in self.space_letters])

    def label_box(self, position: tuple[int, ...], box: Box, *, keep_stack: bool = True) -> Any:
        """Say where a box of a frame lies in an array with the axes `label_axes`.

        With `keep_stack` each stack position becomes a slice of length 1, otherwise an integer.
        """
        stack: list[Any] = [slice(i, i + 1) if keep_stack else i for i in position]
        chosen = dict(zip(self.stack_letters, stack, strict=True)) | dict(zip(self.space_letters, box, strict=True))
        return tuple(chosen[letter] for letter in self.label_axes)

    def label_tile(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        """Shape along `label_axes` of a tile that has the given sides along `space_letters`, in one frame."""
        known = dict(zip(self.space_letters, sides, strict=True))
        return tuple(known.get(letter, 1) for letter in self.label_axes)

    def split_box(self, box: Box) -> tuple[tuple[int, ...], Box]:
        """Split a box with the axes `label_axes`, of one frame, into its position in the stack and a box of the frame.

        Examples
        --------
        >>> ImageLayout("TYX", (9, 40, 50)).split_box((slice(3, 4), slice(0, 16), slice(16, 32)))
        ((3,), (slice(0, 16, None), slice(16, 32, None)))
        """
        chosen = dict(zip(self.label_axes, box, strict=True))
        position = tuple(int(chosen[letter].start) for letter in self.stack_letters)
        return position, tuple(chosen[letter] for letter in self.space_letters)

    def to_label_order(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bring (leading, \\*box in ZYX order) into (leading, \\*box in the order of `label_axes`, stack axes of 1)."""
        block = block.reshape(block.shape[:1] + (1,) * len(self.stack_letters) + block.shape[1:])
        letters = self.stack_letters + self.space_letters
        return block.transpose([0, *(1 + letters.index(letter) for letter in self.label_axes)])
