"""Images larger than the memory: labels go to an array on the disk, probabilities to a temporary file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import zarr
from torch import nn

from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict import object_blocks
from napari_unet.predict import segment as segment_module
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.segment import segment

PLAIN = PredictConfig(tile=32, device="cpu", precision="float32")


class Bright(nn.Module):
    """Take grey values over a half for foreground: an untrained network whose answer is known."""

    divisor = 4
    halo = (4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), 20 * (x - 0.5)], dim=1)


def bright_model(ndim: int = 2) -> Model:
    config = ModelConfig(features=1, ndim=ndim, low_percentile=0.0, high_percentile=100.0)
    return Model(config=config, network=Bright())


def tilted_rods() -> npt.NDArray[np.float32]:
    """Make a volume (Z, Y, X) with a rod that moves by 2 pixels a plane, and one that leaves out a plane."""
    volume = np.zeros((6, 40, 60), np.float32)
    for z in range(6):
        volume[z, 5:15, 5 + 2 * z : 15 + 2 * z] = 1
        volume[z, 25:35, 40:50] = z != 3
    return volume


@pytest.mark.parametrize("task", ["objects", "classes"])
def test_the_result_on_the_disk_is_that_in_memory(
    task: Any, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.kron(rng.random((3, 9, 11)) > 0.5, np.ones((1, 8, 8))).astype(np.float32)
    expected = segment(bright_model(), image, "TYX", task=task, config=PLAIN)
    assert expected.max() > (20 if task == "objects" else 1)
    monkeypatch.setattr(segment_module, "_ON_DISK_FROM_BYTES", 0)
    monkeypatch.setitem(object_blocks._PIXELS, 2, 900)
    target = zarr.create_array(tmp_path / "labels.zarr", shape=image.shape, chunks=(1, 16, 16), dtype=np.uint32)
    assert segment(bright_model(), image, "TYX", task=task, config=PLAIN, out=target) is target
    np.testing.assert_array_equal(np.asarray(target[:]), expected)


@pytest.mark.parametrize("axes", ["ZYX", "XZY"])
def test_planes_are_stitched_where_asked_for(axes: str) -> None:
    places = ["ZYX".index(letter) for letter in axes]
    image = tilted_rods().transpose(places)
    alone = segment(bright_model(), image, axes, config=PLAIN)
    assert alone.max() == 11
    labels = segment(bright_model(), image, axes, config=PLAIN, stitch=0.25)
    planes = labels.transpose(np.argsort(places))
    np.testing.assert_array_equal(planes > 0, tilted_rods() > 0)
    assert labels.dtype == np.uint16
    assert labels.max() == 3
    assert planes[:, 10, :].max(axis=1).tolist() == [1] * 6
    assert planes[:, 30, 45].tolist() == [2, 2, 2, 0, 3, 3]


def test_each_volume_of_a_time_lapse_is_stitched_on_its_own(tmp_path: Path) -> None:
    image = np.stack([tilted_rods(), np.zeros_like(tilted_rods()), tilted_rods()], axis=1)  # Z, T, Y, X
    target = zarr.create_array(tmp_path / "labels.zarr", shape=image.shape, chunks=(1, 1, 16, 60), dtype=np.uint8)
    segment(bright_model(), image, "ZTYX", config=PLAIN, stitch=0.25, out=target)
    labels = np.asarray(target[:])
    assert [sorted(set(np.unique(labels[:, t])) - {0}) for t in range(3)] == [[1, 2, 3], [], [4, 5, 6]]


@pytest.mark.parametrize(
    ("axes", "ndim", "settings", "words"),
    [
        ("TYX", 2, {"stitch": 0.25}, "no Z axis"),
        ("ZYX", 3, {"stitch": 0.25}, "as a whole"),
        ("ZYX", 2, {"stitch": 0.0}, "above 0"),
        ("ZYX", 2, {"stitch": 0.5, "task": "classes"}, "Only objects"),
        ("ZYX", 2, {"out": np.zeros((2, 2))}, "`out` to have the shape"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_work(
    axes: str, ndim: int, settings: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_module, "predict_tiles", lambda *_: pytest.fail("the image was predicted for nothing"))
    with pytest.raises(InputError, match=words):
        segment(bright_model(ndim), tilted_rods(), axes, config=PLAIN, **settings)
