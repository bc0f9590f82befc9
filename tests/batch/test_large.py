"""Images of a batch whose result does not fit into memory: the same results as in memory, and going on after a stop."""

from __future__ import annotations

import csv
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from PIL import Image

from napari_unet.batch import large
from napari_unet.batch import run as batch_run
from napari_unet.batch.events import BatchFinished, ImageFinished
from napari_unet.batch.plan import BatchConfig
from napari_unet.batch.record import BatchRow
from napari_unet.batch.run import run_batch
from napari_unet.data.axes import ImageLayout
from napari_unet.data.box_view import BoxView, bands
from napari_unet.data.calibration import Calibration
from napari_unet.data.files import read_image, write_image, write_labels
from napari_unet.data.storage import StorageError
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig

CPU = PredictConfig(device="cpu", precision="float32", tile=48)


def _blobs(*shape: int) -> npt.NDArray[np.uint8]:
    noise = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(sum(shape)))
    smooth = torch.nn.functional.avg_pool3d(noise[0][None], (1, 9, 9), 1, (0, 4, 4), count_include_pad=False)
    return np.asarray((smooth[0, 0] - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes every image a large one."""
    return lambda: monkeypatch.setattr(large, "_MOST_BYTES", 0)


def _model(channels: int = 1, classes: tuple[str, ...] = ("background", "cell"), ndim: int = 2) -> Model:
    return Model.create(ModelConfig(features=4, depth=1, in_channels=channels, classes=classes, ndim=ndim), seed=3)


def _run(model: Model, image: Path, config: BatchConfig, **options: Any) -> list[BatchRow]:
    events = list(run_batch(model, [image], config, CPU, **options))
    return [event.row for event in events if isinstance(event, ImageFinished)]


def _table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", encoding="utf-8", newline="") as stream:
        return [
            {name: cell for name, cell in line.items() if name not in ("result", "seconds")}
            for line in csv.DictReader(stream)
        ]


def _same_partition(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


@pytest.mark.parametrize("ending", ["tif", "png", "npy", "zarr", "nii", "nii.gz"])
def test_every_format_holds_what_it_holds_from_memory(tmp_path: Path, limited: Callable[[], None], ending: str) -> None:
    image, model = tmp_path / "cells.tif", _model()
    write_image(image, _blobs(1, 40, 530)[0], "YX", (0.5, 0.25))
    outs = tmp_path / "memory", tmp_path / "disk"
    rows = [*_run(model, image, BatchConfig(outs[0], format=ending, probabilities=True))]
    limited()
    rows += _run(model, image, BatchConfig(outs[1], format=ending, probabilities=True))
    assert [row.state for row in rows] == ["done", "done"]
    assert rows[0].objects
    assert _table(outs[0]) == _table(outs[1])
    assert not list(outs[1].glob("*.unfinished"))
    for name in sorted(path.name for path in outs[0].iterdir() if path.name.startswith("cells")):
        first, second = (read_image(out / name) for out in outs)
        assert (first.axes, first.spacing, first.array.dtype) == (second.axes, second.spacing, second.array.dtype)
        one, other = (np.asarray(file.array) for file in (first, second))
        if "labels" in name:
            assert _same_partition(one, other)
        else:
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("axes", "shape", "options", "config"),
    [
        ("TYX", (3, 70, 80), {}, {}),
        ("ZYX", (4, 70, 80), {}, {"stitch": 0.1}),
        ("ZYX", (20, 40, 48), {"ndim": 3}, {}),
        ("CYX", (2, 70, 80), {"channels": 2}, {}),
        ("ZCYX", (3, 2, 70, 80), {"channels": 2, "classes": ("background", "a", "b")}, {"task": "classes"}),
    ],
    ids=["time", "stitched", "volume", "channels", "classes"],
)
def test_stacks_and_channels_are_those_of_the_image_in_memory(
    tmp_path: Path, limited: Callable[[], None], axes: str, shape: tuple[int, ...], options: Any, config: Any
) -> None:
    image, model = tmp_path / "cells.tif", _model(**options)
    pixels = _blobs(int(np.prod(shape[:-2])), *shape[-2:]).reshape(shape)
    write_image(image, pixels, axes)
    outs = tmp_path / "memory", tmp_path / "disk"
    (first,) = _run(model, image, BatchConfig(outs[0], **config))
    limited()
    (second,) = _run(model, image, BatchConfig(outs[1], **config))
    assert (first.error, second.error) == ("", "")
    one, other = (tifffile.imread(out / "cells_labels.tif") for out in outs)
    assert one.dtype == other.dtype
    assert len(np.unique(one)) > 1
    assert np.array_equal(one, other) if "task" in config else _same_partition(one, other)
    assert _table(outs[0]) == _table(outs[1])


def test_stopped_image_goes_on_with_the_tiles_that_are_missing(
    tmp_path: Path, limited: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, model, out = tmp_path / "cells.tif", _model(), tmp_path / "out"
    write_image(image, _blobs(1, 192, 192)[0], "YX")
    _run(model, image, BatchConfig(tmp_path / "memory"))
    limited()
    asked = iter(range(1000))
    resume = BatchConfig(out, existing="resume")
    events = list(run_batch(model, [image], resume, CPU, should_stop=lambda: next(asked) >= 6))
    assert isinstance(events[-1], BatchFinished)
    assert events[-1].stopped
    (tiles,) = out.glob(".cells_labels.unfinished/*/probabilities.zarr")
    there = {path: path.stat().st_mtime_ns for path in tiles.glob("0/c/**/*") if path.is_file()}
    assert 0 < len(there) < 16
    seen: dict[Path, int] = {}
    true_labels = large._write_labels

    def look(*arguments: Any) -> Any:
        seen.update({path: path.stat().st_mtime_ns for path in tiles.glob("0/c/**/*") if path.is_file()})
        return true_labels(*arguments)

    monkeypatch.setattr(large, "_write_labels", look)
    (row,) = _run(model, image, resume)
    assert row.state == "done"
    assert len(seen) == 16
    assert there.items() <= seen.items()
    assert not (out / ".cells_labels.unfinished").exists()
    assert _same_partition(*(tifffile.imread(folder / "cells_labels.tif") for folder in (tmp_path / "memory", out)))
    assert _table(tmp_path / "memory") == _table(out)
    assert [row.state for row in _run(model, image, resume)] == ["kept"]


def test_tiles_of_another_model_are_not_used(tmp_path: Path, limited: Callable[[], None]) -> None:
    image, out = tmp_path / "cells.tif", tmp_path / "out"
    write_image(image, _blobs(1, 192, 192)[0], "YX")
    limited()
    asked = iter(range(1000))
    list(run_batch(_model(classes=("background", "a", "b")), [image], BatchConfig(out), CPU,
                   should_stop=lambda: next(asked) >= 6))  # fmt: skip
    assert list(out.glob(".*.unfinished/*"))
    _run(_model(), image, BatchConfig(out))
    _run(_model(), image, BatchConfig(tmp_path / "other"))
    assert np.array_equal(*(tifffile.imread(folder / "cells_labels.tif") for folder in (out, tmp_path / "other")))
    assert not list(out.glob(".*.unfinished"))


def test_stop_and_full_disk_while_labelling_keep_the_tiles(
    tmp_path: Path, limited: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, model, out = [tmp_path / f"cells{number}.tif" for number in range(2)], _model(), tmp_path / "out"
    for image in images:
        write_image(image, _blobs(1, 64, 64)[0], "YX")
    limited()

    def full(path: Path, *arguments: Any, **options: Any) -> None:
        if "cells0" not in path.name:
            return write_labels(path, *arguments, **options)
        raise StorageError(f"{path} can't be written: disk full.") from OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(batch_run, "write_labels", full)
        events = list(run_batch(model, images, BatchConfig(out), CPU))
    rows = [event.row for event in events if isinstance(event, ImageFinished)]
    assert [row.state for row in rows] == ["failed", "done"]
    assert "disk full" in rows[0].error
    assert "kept" in rows[0].error
    assert len(list(out.glob(".*.unfinished"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(large, "predict_to_store", _finished_only(large.predict_to_store))
        assert [row.state for row in _run(model, images[0], BatchConfig(out, existing="resume"))] == ["done"]
    assert not list(out.glob(".*.unfinished"))


def _finished_only(predict: Callable[..., Any]) -> Callable[..., Any]:
    """Return a prediction that fails where it would predict a tile."""

    def checked(*arguments: Any, **options: Any) -> Any:
        first, *others = predict(*arguments, **options)
        assert first.done == first.total
        return iter([first, *others])

    return checked


def test_disk_without_space_is_told_before_the_work_and_the_rest_goes_on(
    tmp_path: Path, limited: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, model = tmp_path / "cells.tif", _model()
    write_image(image, _blobs(1, 64, 64)[0], "YX")
    limited()
    monkeypatch.setattr(large, "_LABEL_BYTES", 1e18)
    (row,) = _run(model, image, BatchConfig(tmp_path / "out"))
    assert row.state == "failed"
    assert row.error.startswith("The image is segmented on the disk")
    assert row.error.endswith("are free; choose a folder on another disk.")


def test_limit_follows_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = ImageLayout("YX", (10_000, 10_000))  # 16 bytes for each pixel: 1.6 GB
    for free, fits in ((7_000_000_000, True), (6_000_000_000, False), (None, False)):
        monkeypatch.setattr(large, "free_memory", lambda device, free=free: free)
        assert large.fits_in_memory(layout, 2) is fits
    monkeypatch.setattr(large, "free_memory", lambda device: 10**12)
    assert not large.fits_in_memory(ImageLayout("YX", (20_000, 20_000)), 2)


@pytest.mark.parametrize("ending", ["tif", "png", "npy", "zarr", "nii"])
def test_views_are_written_like_arrays(tmp_path: Path, ending: str) -> None:
    labels = np.random.default_rng(0).integers(0, 60_000, (1030, 530), dtype=np.uint16)
    view = BoxView(labels.__getitem__, labels.shape, labels.dtype)
    calibration = Calibration((500.0, 250.0), "mm")
    for name, array in (("array", labels), ("view", view)):
        write_labels(tmp_path / f"{name}.{ending}", array, "YX", calibration=calibration)
    files = [read_image(tmp_path / f"{name}.{ending}") for name in ("array", "view")]
    assert files[0].spacing == files[1].spacing
    for file in files:
        np.testing.assert_array_equal(np.asarray(file.array), labels)
    if ending == "png":
        with Image.open(tmp_path / "view.png") as picture:
            picture.verify()


def test_volume_as_nifti_has_the_bytes_of_nibabel(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).random((3, 20, 30), np.float32)
    write_image(tmp_path / "ours.nii", volume, "ZYX", calibration=Calibration((2e3, 5e2, 250.0), "mm"))
    ours = nibabel.load(tmp_path / "ours.nii")
    np.testing.assert_array_equal(np.asarray(ours.dataobj), volume.T)
    nibabel.Nifti1Image(volume.T, ours.affine, ours.header).to_filename(tmp_path / "theirs.nii")
    assert (tmp_path / "ours.nii").read_bytes() == (tmp_path / "theirs.nii").read_bytes()


def test_turned_view_gives_the_bands_of_the_turned_array() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    view = BoxView(array.__getitem__, array.shape, array.dtype).transpose([1, 2, 0])
    assert view.nbytes == array.nbytes
    np.testing.assert_array_equal(np.concatenate(list(bands(view, 3))), array.transpose(1, 2, 0).reshape(-1, 2))
