"""What the file of an image layer says of its axes and pixels, where napari's own readers leave that out.

They hand on the pixels of OME-TIFF, ImageJ's TIFF and OME-Zarr, but not which axis is which, nor how large a pixel is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from napari.layers import Image, Layer

from napari_unet.data.axes import guess_axes
from napari_unet.data.calibration import Calibration
from napari_unet.data.file_array import reports_damage
from napari_unet.data.image_readers import describe_tiff
from napari_unet.data.storage import is_zarr_folder
from napari_unet.data.zarr_reader import read_zarr
from napari_unet.errors import UNetError

__all__ = ["FileFacts", "facts_of", "hand_on_facts"]


@dataclass(frozen=True)
class FileFacts:
    """What a file says.

    Attributes
    ----------
    shape : tuple of int
        Of the image in it.
    axes : str
        One letter of TCZYX for each axis.
    calibration : Calibration
        Distances of pixels, as far as they are stated.
    """

    shape: tuple[int, ...]
    axes: str
    calibration: Calibration

    def spacing(self, letters: str) -> tuple[float, ...] | None:
        """Return the distance of pixels along some of the axes ZYX in micrometres; None where it is not stated."""
        if self.calibration.spacing is None:
            return None
        sizes = dict(zip([letter for letter in "ZYX" if letter in self.axes], self.calibration.spacing, strict=True))
        return tuple(sizes[letter] for letter in letters) if set(letters) <= set(sizes) else None


_KNOWN: WeakKeyDictionary[Layer, FileFacts | None] = WeakKeyDictionary()


def facts_of(layer: Image) -> FileFacts | None:
    """Return what the file of a layer says, if it holds the layer's very axes; a file is looked at once.

    Colour pictures are left out: their axes are known.
    """
    if layer.rgb:
        return None
    if layer not in _KNOWN:
        _KNOWN[layer] = _read_facts(Path(layer.source.path)) if layer.source.path else None
    facts, array = _KNOWN[layer], layer.data[0] if layer.multiscale else layer.data
    return facts if facts is not None and facts.shape == tuple(array.shape) else None


def hand_on_facts(layer: Image, other: Image, order: Sequence[int]) -> None:
    """Let what is known of a layer hold for another one, which shows it with its axes in this order."""
    facts = facts_of(layer)
    if facts is not None:
        axes = "".join(facts.axes[place] for place in order)
        spatial = "".join(letter for letter in axes if letter in "ZYX")
        calibration = Calibration(facts.spacing(spatial))
        _KNOWN[other] = FileFacts(tuple(facts.shape[place] for place in order), axes, calibration)


def _read_facts(path: Path) -> FileFacts | None:
    """Read what a file says without its pixels; None where it says nothing or can't be read any more."""
    try:
        with reports_damage(path.name):
            if path.is_dir() and is_zarr_folder(path):
                array, axes, calibration = read_zarr(path)
                said = calibration.spacing is not None or axes != guess_axes(array.shape)
                return FileFacts(tuple(array.shape), axes, calibration) if said else None
            if path.is_file() and path.suffix.lower() in (".tif", ".tiff"):
                told = describe_tiff(path)
                return None if told is None else FileFacts(*told)
    except (UNetError, OSError):
        return None
    return None
