"""The whole way on one real image: strokes, training, segmentation, and a comparison with a reference.

The image is the immunohistochemistry picture of scikit-image: glands with a brown stain (DAB) in unstained tissue. The
strokes are fixed lines that were placed by hand, as a person would paint them. The reference comes from the colours
alone: the brown stain is separated from the blue one (Ruifrok and Johnston 2001, `skimage.color.rgb2hed`), smoothed,
and parted by Otsu's threshold; it knows nothing of the strokes or the network.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.assess.metrics import dice
from napari_unet.data.files import write_image, write_labels
from napari_unet.data.sample import Sample
from napari_unet.errors import UNetError
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.events import FitEvent
from napari_unet.nets.config import ModelConfig

__all__ = [
    "CLASS_NAMES",
    "REFERENCE",
    "DemoResult",
    "demo",
    "demo_image",
    "demo_strokes",
    "overlay",
    "reference_labels",
]

CLASS_NAMES = ("unstained", "stained")
REFERENCE = "Otsu threshold on the smoothed brown stain (DAB channel of skimage.color.rgb2hed)"

_UNSTAINED, _STAINED = 1, 2
_RADIUS = 3.0  # of the brush, in pixels
_SMOOTHING = 2.0  # of the reference, in pixels
_COLOURS = {_UNSTAINED: (64, 128, 255), _STAINED: (255, 215, 0)}
_OUTLINE = (255, 255, 255)

# Corners (y, x) of the strokes.
_STROKES: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = (
    (_UNSTAINED, ((20, 470), (120, 482), (220, 492), (320, 480), (420, 490), (490, 480))),
    (_UNSTAINED, ((250, 122), (280, 160), (277, 220), (260, 280), (297, 332), (310, 390))),
    (_UNSTAINED, ((330, 180), (400, 200), (480, 230))),
    (_UNSTAINED, ((325, 12), (390, 20), (445, 16))),
    (_UNSTAINED, ((60, 305), (115, 333), (150, 354), (183, 371))),
    (_STAINED, ((60, 40), (110, 90), (160, 150), (180, 220), (225, 175))),
    (_STAINED, ((40, 375), (90, 410), (140, 420), (190, 400), (240, 390))),
    (_STAINED, ((205, 30), (250, 60), (320, 95), (380, 75), (440, 75), (490, 100))),
    (_STAINED, ((350, 280), (390, 320), (430, 340), (470, 330))),
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes
    ----------
    dice : float
        Dice coefficient of the stained class against the reference, 0 to 1.
    best_score : float or None
        Best score of the training on held-out strokes.
    steps : int
        Steps of the training.
    seconds : float
        How long everything took.
    labels, overlay, annotation, model : Path
        The files: label TIFF, picture with the result and the strokes, strokes as TIFF, and the model.
    """

    dice: float
    best_score: float | None
    steps: int
    seconds: float
    labels: Path
    overlay: Path
    annotation: Path
    model: Path


def demo(
    out_dir: str | os.PathLike[str],
    on_event: Callable[[FitEvent], None] | None = None,
    *,
    seconds: float = 40.0,
    device: str = "auto",
    should_stop: Callable[[], bool] | None = None,
) -> DemoResult:
    """Train on the strokes, segment the image, and write what came out.

    Parameters
    ----------
    out_dir : path-like
        Folder for the files; made if it is not there.
    on_event : callable, optional
        Called with each event of the training.
    seconds : float
        How long to train.
    device : str
        Where to train, see `napari_unet.fit`.
    should_stop : callable, optional
        True ends the training early.

    Raises
    ------
    napari_unet.errors.UNetError
        If the device is not there, a file can't be written, or it was stopped before the first step.
    """
    from napari_unet.learn.fit import fit
    from napari_unet.models.model import Model
    from napari_unet.predict.config import PredictConfig
    from napari_unet.predict.segment import segment

    began = time.monotonic()
    image, strokes = demo_image(), demo_strokes()
    sample = Sample(image, strokes, "YXS", name="immunohistochemistry")
    model = Model.create(ModelConfig(in_channels=3, classes=CLASS_NAMES, features=16, depth=4))
    config = TrainConfig(max_seconds=seconds, task="classes")
    for event in fit(model, [sample], config, device=device, should_stop=should_stop):
        if on_event is not None:
            on_event(event)
    if not model.history:
        raise UNetError("The demo was stopped before its first training step, so there is nothing to show.")
    labels = segment(model, image, "YXS", config=PredictConfig(device=device))
    folder = Path(out_dir)
    result = DemoResult(
        dice=dice(labels == _STAINED, reference_labels(image) == _STAINED),
        best_score=model.history.get("best_score"),
        steps=int(model.history.get("steps", 0)),
        seconds=time.monotonic() - began,
        labels=folder / "labels.tif",
        overlay=folder / "overlay.png",
        annotation=folder / "annotation.tif",
        model=folder / "stain.unet.safetensors",
    )
    write_labels(result.labels, labels, "YX")
    write_labels(result.annotation, strokes, "YX")
    write_image(result.overlay, overlay(image, labels, strokes), "YXS")
    model.save(result.model)
    return result


def demo_image() -> npt.NDArray[np.uint8]:
    """Return the image, (512, 512, 3) uint8 with the axes YXS; it comes with scikit-image."""
    from skimage import data

    image: npt.NDArray[np.uint8] = data.immunohistochemistry()
    return image


def demo_strokes() -> npt.NDArray[np.uint8]:
    """Return the strokes, (512, 512) uint8: 0 not painted, 1 unstained, 2 stained.

    Examples
    --------
    >>> strokes = demo_strokes()
    >>> strokes.shape, np.unique(strokes).tolist(), bool((strokes > 0).mean() < 0.06)
    ((512, 512), [0, 1, 2], True)
    """
    strokes = np.zeros((512, 512), np.uint8)
    y, x = np.mgrid[:512, :512].astype(np.float32)
    for label, corners in _STROKES:
        for (y0, x0), (y1, x1) in pairwise(corners):
            along = ((y - y0) * (y1 - y0) + (x - x0) * (x1 - x0)) / ((y1 - y0) ** 2 + (x1 - x0) ** 2)
            along = np.clip(along, 0, 1)
            distance = np.hypot(y - y0 - along * (y1 - y0), x - x0 - along * (x1 - x0))
            strokes[distance <= _RADIUS] = label
    return strokes


def reference_labels(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Part stained (2) from unstained (1) tissue by colour alone; see `REFERENCE`.

    Parameters
    ----------
    image : numpy.ndarray
        (Y, X, 3) uint8.

    Returns
    -------
    numpy.ndarray
        (Y, X) uint8.
    """
    from skimage.color import rgb2hed
    from skimage.filters import gaussian, threshold_otsu

    stain = gaussian(rgb2hed(image)[..., 2], _SMOOTHING)
    return np.where(stain > threshold_otsu(stain), _STAINED, _UNSTAINED).astype(np.uint8)


def overlay(image: npt.NDArray[np.uint8], labels: npt.NDArray[Any], strokes: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Draw the result and the strokes into the image.

    Parameters
    ----------
    image : numpy.ndarray
        (Y, X, 3) uint8.
    labels : numpy.ndarray
        (Y, X) the result: stained tissue is tinted yellow and outlined in white.
    strokes : numpy.ndarray
        (Y, X) the annotation: blue for unstained, yellow for stained, with a dark rim.

    Returns
    -------
    numpy.ndarray
        (2 Y, 2 X, 3) uint8.
    """
    from scipy import ndimage
    from skimage.segmentation import find_boundaries

    picture, result, painted = (a.repeat(2, axis=0).repeat(2, axis=1) for a in (image, labels, strokes))
    picture = picture.astype(np.float32)
    stained = result == _STAINED
    picture[stained] = 0.7 * picture[stained] + 0.3 * np.array(_COLOURS[_STAINED], np.float32)
    picture[ndimage.binary_dilation(find_boundaries(stained))] = _OUTLINE
    picture[ndimage.binary_dilation(painted > 0, iterations=2)] = (20, 20, 20)
    for label, colour in _COLOURS.items():
        picture[painted == label] = colour
    return picture.astype(np.uint8)
