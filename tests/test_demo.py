"""The demo writes what it promises, and its strokes and reference are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_unet.data.files import read_annotation, read_image
from napari_unet.demo import CLASS_NAMES, demo, demo_image, demo_strokes, overlay, reference_labels
from napari_unet.errors import UNetError
from napari_unet.learn.events import FitEvent, FitFinished
from napari_unet.models.model import Model


def test_strokes_are_few_and_lie_on_the_right_tissue() -> None:
    strokes, reference = demo_strokes(), reference_labels(demo_image())
    assert strokes.shape == reference.shape
    assert (strokes > 0).mean() < 0.06
    assert (reference[strokes == 1] == 1).mean() > 0.95
    assert (reference[strokes == 2] == 2).mean() > 0.9
    assert [ndimage.label(strokes == label)[1] for label in (1, 2)] == [5, 4]


def test_overlay_shows_strokes_result_and_outline() -> None:
    image, strokes = demo_image(), demo_strokes()
    labels = np.ones_like(strokes)
    labels[100:200, 100:200] = 2
    picture = overlay(image, labels, strokes)
    assert picture.shape == (1024, 1024, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture[20, 20], image[10, 10]), "tissue without a result is left as it is"
    assert not np.array_equal(picture[350, 250], image[175, 125])
    assert (picture[200, 250:390] == 255).all(), "the outline"


@pytest.mark.slow
def test_demo_writes_its_files_and_beats_a_guess(tmp_path: Path) -> None:
    events: list[FitEvent] = []
    result = demo(tmp_path / "new", events.append, seconds=15.0, device="cpu")
    assert isinstance(events[-1], FitFinished)
    assert result.steps == events[-1].step > 0
    labels = np.asarray(read_image(result.labels).array)
    assert labels.shape == (512, 512)
    assert np.array_equal(read_annotation(result.annotation).array, demo_strokes())
    assert read_image(result.overlay).axes == "YXS"
    model = Model.load(result.model)
    assert (model.task, model.config.classes) == ("classes", CLASS_NAMES)
    reference = reference_labels(demo_image()) == 2
    overlap = ((labels == 2) & reference).sum()
    assert result.dice == pytest.approx(2 * overlap / ((labels == 2).sum() + reference.sum()))
    assert result.dice > 0.8


def test_demo_that_is_stopped_at_once_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UNetError, match="before its first training step"):
        demo(tmp_path / "new", device="cpu", should_stop=lambda: True)
    assert not (tmp_path / "new").exists()
