"""The starting weights that come with the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from napari_unet.errors import ModelFileError
from napari_unet.models.inflate import inflate
from napari_unet.models.model import Model
from napari_unet.models.transfer import transfer
from napari_unet.nets.config import ModelConfig

__all__ = ["load_pretrained"]

_ENDING = ".unet.safetensors"


def load_pretrained(in_channels: int, ndim: int, classes: tuple[str, ...]) -> Model:
    """Make a model of the shipped weights; see `Model.pretrained`.

    The file for `ndim` dimensions is named ``strokes_2d.unet.safetensors`` or ``strokes_3d.unet.safetensors``. Weights
    that were inflated smooth nothing: in volumes, where objects are a few voxels thick, it would join them.
    """
    ModelConfig(in_channels=in_channels, ndim=ndim, classes=classes)  # says what is wrong with them
    shipped = _load(ndim)
    inflated = shipped is None and ndim == 3
    if inflated:
        flat = _load(2)
        shipped = None if flat is None else inflate(flat)
    if shipped is None:
        raise ModelFileError(
            "This installation of napari-unet lacks its starting weights; install it again, or make a model with "
            "`Model.create`."
        )
    smooth_logits = shipped.config.smooth_logits and not inflated
    wanted = replace(shipped.config, in_channels=in_channels, classes=classes, smooth_logits=smooth_logits)
    model = shipped if wanted == shipped.config else transfer(shipped, wanted).model
    model.history = {"start": {"pretrained": True, "steps": shipped.history.get("steps", 0), "encoder_kept": True}}
    return model


def _load(ndim: int) -> Model | None:
    with _path(_folder() / f"strokes_{ndim}d{_ENDING}") as path:
        return None if path is None else Model.load(path)


def _folder() -> Traversable:
    return resources.files("napari_unet.models") / "weights"


@contextmanager
def _path(file: Traversable) -> Iterator[Path | None]:
    if not file.is_file():
        yield None
        return
    with resources.as_file(file) as path:
        yield path
