"""Finding or making the store of a prediction: the one that fits is completed, any other is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_unet.data.axes import ImageLayout
from napari_unet.data.calibration import Calibration
from napari_unet.data.files import read_image
from napari_unet.data.intensity import IntensityRange, measure_range
from napari_unet.data.storage import restore_interrupted
from napari_unet.errors import InputError
from napari_unet.nets.device import choose_device
from napari_unet.nets.registry import SegmentationModel
from napari_unet.predict.averaging import list_turns, tile_growth
from napari_unet.predict.budget import pixel_budget
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.fingerprint import image_checksum, model_checksum
from napari_unet.predict.runner import tile_geometry
from napari_unet.predict.store_record import StoreRecord, round_tile
from napari_unet.predict.stored_uncertainty import add_uncertainty
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.tiled import image_layout
from napari_unet.predict.tiles import TileGeometry, choose_tile

__all__ = ["Source", "open_source", "prepare_store"]

# Longer sides of an image have no influence on the tile, so that the memory does not depend on the image. On a CPU
# networks of the usual width have no larger tiles anyway.
_LONGEST_CPU, _LONGEST_GPU = 1024, 2048
_UNMEASURED = IntensityRange((), ())


@dataclass(frozen=True, eq=False)
class Source:
    """An image to predict.

    Attributes
    ----------
    array : array-like
        Its pixels, read piece by piece.
    axes : str or None
        One letter for each axis; None: to be guessed.
    calibration : Calibration
        Distances and place of its pixels.
    """

    array: Any
    axes: str | None
    calibration: Calibration


def open_source(image: Any, axes: str | None = None, spacing: Sequence[float] | None = None) -> Source:
    """Open an image that is given as an array or as the path of a file; see `predict_to_store`."""
    given = Calibration(None if spacing is None else tuple(float(step) for step in spacing))
    if not isinstance(image, str | os.PathLike):
        return Source(image, axes, given)
    file = read_image(image)
    same_axes = axes is None or sorted(axes.upper()) == sorted(file.axes)
    known = file.calibration if spacing is None and same_axes else given
    return Source(file.array, axes or file.axes, known)


def prepare_store(
    model: SegmentationModel,
    source: Source,
    path: str | os.PathLike[str],
    config: PredictConfig,
    content: str,
    task: str,
    *,
    overwrite: bool = False,
    keep_probabilities: bool = False,
    keep_entropy: bool = False,
) -> TileStore:
    """Open the store of a prediction, or make it.

    Parameters
    ----------
    model : Model
        A trained model.
    source : Source
        The image.
    path : path-like
        The folder.
    config : PredictConfig
        Settings.
    content, task : str
        See `StoreRecord`.
    overwrite : bool
        Whether to make it anew even where it is there.
    keep_probabilities : bool
        Whether probabilities are kept beside labels.
    keep_entropy : bool
        Whether their entropy is.

    Raises
    ------
    InputError
        If something else is at `path`, or the image does not fit the model.
    napari_unet.data.storage.StorageError
        If it can't be written.
    """
    if content not in ("labels", "probabilities"):
        raise InputError(f"Expected `content` to be 'labels' or 'probabilities', but got {content!r}.")
    if task not in ("objects", "classes"):
        raise InputError(f"Expected `task` to be 'objects' or 'classes', but got {task!r}.")
    if keep_probabilities and content == "probabilities":
        raise InputError("Probabilities can be kept beside labels only: leave out `keep_probabilities`.")
    folder = Path(path).expanduser()
    layout = image_layout(model, source.array, source.axes)
    geometry = tile_geometry(model.network, model.config)
    record = StoreRecord(
        content=content, task=task, axes=layout.axes, shape=layout.shape, ndim=layout.ndim,
        classes=tuple(model.config.classes), spacing=source.calibration.spacing or model.spacing,
        image=image_checksum(source.array, layout), model=model_checksum(model),
        averaging=config.averaging, precision=config.precision,
        tile=_choose_tile(model, layout, config, geometry), intensity=_UNMEASURED, overlap=geometry.overlap,
    )  # fmt: skip
    restore_interrupted(folder)
    if os.path.lexists(folder) and not overwrite and not _is_empty_folder(folder):
        store = TileStore.open(folder)
        _check_same(store, record, any_tile=config.tile is None)
        if keep_probabilities and not store.probabilities:
            raise InputError(f"{folder} holds labels without probabilities; choose another name, or overwrite it.")
        return add_uncertainty(store, "entropy") if keep_entropy else store
    low, high = model.config.low_percentile, model.config.high_percentile
    intensity = measure_range(source.array, layout, low_percentile=low, high_percentile=high)
    record = replace(record, intensity=intensity)
    store = TileStore.create(folder, record, source.calibration, probabilities=keep_probabilities)
    return add_uncertainty(store, "entropy") if keep_entropy else store


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _check_same(store: TileStore, wanted: StoreRecord, *, any_tile: bool) -> None:
    """Refuse a store that was made from something else."""
    found = store.record
    if found.image != wanted.image:
        difference = "of another image"
    elif found.model != wanted.model:
        difference = "by another model, or by this one before it was trained further"
    elif found.result != wanted.result:
        difference = f"that holds {found.result}, not {wanted.result}"
    elif (found.averaging, found.precision) != (wanted.averaging, wanted.precision):
        difference = "with other settings"
    elif found.tile != wanted.tile and not any_tile:
        difference = f"with tiles of {' x '.join(map(str, found.tile))} pixels"
    else:
        return
    raise InputError(f"{store.path} is a prediction {difference}; choose another name, or have it overwritten.")


def _choose_tile(
    model: SegmentationModel, layout: ImageLayout, config: PredictConfig, geometry: TileGeometry
) -> tuple[int, ...]:
    tile = config.tile
    if tile is None:
        device = choose_device(config.device, precision=config.precision)
        growth = tile_growth(list_turns(config.averaging))
        longest = _LONGEST_CPU if device.torch_device.type == "cpu" else _LONGEST_GPU
        shape = tuple(min(size, longest) for size in layout.frame_shape)
        tile = choose_tile(shape, geometry, pixel_budget(model.config, device, growth))
    sides = (tile,) * layout.ndim if isinstance(tile, int) else tuple(tile)
    if len(sides) != layout.ndim:
        raise InputError(f"Expected `tile` to have {layout.ndim} sides, but got {sides}.")
    smallest = 2 * geometry.overlap + 1  # so that only tiles side by side overlap
    return round_tile([max(side, smallest) for side in sides], layout.frame_shape, geometry.divisor)
