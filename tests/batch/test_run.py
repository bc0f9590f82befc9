"""A batch: twenty images of which two are broken, its table, going on after a kill, and files that must not change."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
import yaozarrs
from PIL import Image

from napari_unet.batch import run as batch_run
from napari_unet.batch.events import BatchFinished, BatchNote, BatchStarted, ImageFinished, ImageProgress
from napari_unet.batch.plan import BatchConfig
from napari_unet.batch.record import BatchRow
from napari_unet.batch.run import run_batch
from napari_unet.data.calibration import Calibration
from napari_unet.data.files import find_images, read_image, write_image, write_labels
from napari_unet.data.storage import StorageError
from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig

CPU = PredictConfig(device="cpu", precision="float32")


def _picture(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, shape or (40, 48), dtype=np.uint8)


@pytest.fixture
def model() -> Model:
    """Return a network without training that finds something: foreground where it is bright."""
    made = Model.create(ModelConfig(features=4, depth=1))
    with torch.no_grad():
        made.network(torch.zeros(1, 1, 16, 16))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with 20 images of five formats: two are broken, one is RGBA."""
    images = tmp_path / "images"
    for number in range(10):
        write_image(images / f"a{number}.tif", _picture(number), "YX", (0.5, 0.25))
    for number in range(10, 13):
        Image.fromarray(_picture(number)).save(images / f"b{number}.png")
    Image.fromarray(_picture(13, 40, 48, 4)).save(images / "screenshot.png")
    Image.fromarray(_picture(14)).save(images / "photo.jpg")
    write_image(images / "c15.zarr", _picture(15, 2, 40, 48), "TYX", (0.5, 0.25))
    write_image(images / "d16.nii.gz", _picture(16, 3, 40, 48), "ZYX", calibration=Calibration((2e3, 1e3, 1e3), "mm"))
    np.save(images / "e17.npy", _picture(17))
    (images / "broken.tif").write_bytes((images / "a0.tif").read_bytes()[:200])
    (images / "empty.png").write_bytes(b"")
    return images


def run(model: Model, images: Any, config: BatchConfig, **options: Any) -> list[BatchRow]:
    events = list(run_batch(model, images, config, CPU, **options))
    return [event.row for event in events if isinstance(event, ImageFinished)]


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_twenty_images_of_which_two_are_broken_give_eighteen_results(model: Model, folder: Path) -> None:
    images, before = find_images([folder]), content(folder)
    assert len(images) == 20
    out = folder.parent / "out"
    rows = run(model, images, BatchConfig(out))
    assert [row.file for row in rows] == [str(image) for image in images]
    failed = {Path(row.file).name: row.error for row in rows if row.state == "failed"}
    assert set(failed) == {"broken.tif", "empty.png"}
    assert "broken.tif can't be read, it may be damaged" in failed["broken.tif"]
    assert "empty.png is empty" in failed["empty.png"]
    assert sum(row.state == "done" for row in rows) == 18
    results = sorted(path.name for path in out.glob("[!.]*") if path.name != "results.csv")
    assert len(results) == 18
    assert {"a0_labels.tif", "b10_labels.png", "photo_labels.png", "c15_labels.zarr", "d16_labels.nii.gz"} < set(
        results
    )
    assert "e17_labels.npy" in results
    assert content(folder) == before
    listed = {Path(line["file"]).name: line for line in table(out)}
    assert len(listed) == 20
    assert {name for name, line in listed.items() if line["error"]} == set(failed)
    assert "brightness was taken" in listed["screenshot.png"]["note"]
    assert [name for name, line in listed.items() if line["note"]] == ["screenshot.png"]


def test_results_keep_axes_size_and_affine_of_their_source(model: Model, folder: Path) -> None:
    out = folder.parent / "out"
    run(model, [folder / name for name in ("a0.tif", "c15.zarr", "d16.nii.gz")], BatchConfig(out))
    with tifffile.TiffFile(out / "a0_labels.tif") as file:
        assert 'PhysicalSizeX="0.25"' in str(file.ome_metadata)
        assert file.series[0].axes == "YX"
    yaozarrs.validate_zarr_store(out / "c15_labels.zarr" / "labels" / "segmentation")
    (multiscale,) = yaozarrs.open_group(out / "c15_labels.zarr" / "labels" / "segmentation").ome_metadata().multiscales
    assert [axis.name for axis in multiscale.axes] == ["t", "y", "x"]
    assert multiscale.datasets[0].coordinateTransformations[0].scale[1:] == [0.5, 0.25]
    source, result = (nibabel.load(path) for path in (folder / "d16.nii.gz", out / "d16_labels.nii.gz"))
    np.testing.assert_array_equal(result.affine, source.affine)
    assert result.shape == source.shape


@pytest.mark.parametrize(("task", "wanted"), [("objects", None), ("classes", "classes")])
def test_table_counts_objects_and_areas_in_the_unit_of_the_image(
    model: Model, folder: Path, task: str, wanted: str | None
) -> None:
    out = folder.parent / "out"
    run(model, [folder / "a0.tif", folder / "d16.nii.gz", folder / "e17.npy"], BatchConfig(out, task=wanted))
    for line, (pixel, unit) in zip(table(out), [(0.125, "um^2"), (2.0, "mm^3"), (1.0, "pixels")], strict=True):
        labels = np.asarray(read_image(line["result"]).array)
        found = labels > (1 if task == "classes" else 0)
        assert float(line["area"]) == pytest.approx(pixel * np.count_nonzero(found), rel=1e-5)
        assert line["unit"] == unit
        assert line["objects"] == ("" if task == "classes" else str(np.unique(labels[found]).size))
        assert float(line["seconds"]) > 0


def test_colours_become_brightness_and_grey_becomes_colours(model: Model, folder: Path) -> None:
    grey = _picture(3)
    Image.fromarray(np.dstack([grey, grey, grey, grey * 0 + 255])).save(folder / "saved_as_rgba.png")
    Image.fromarray(grey).save(folder / "saved_as_grey.png")
    out = folder.parent / "out"
    run(model, [folder / "saved_as_rgba.png", folder / "saved_as_grey.png"], BatchConfig(out))
    first, second = (np.asarray(Image.open(out / f"saved_as_{kind}_labels.png")) for kind in ("rgba", "grey"))
    np.testing.assert_array_equal(first, second)
    coloured = Model.create(ModelConfig(features=4, depth=1, in_channels=3))
    rows = run(coloured, [folder / "saved_as_grey.png", folder / "screenshot.png"], BatchConfig(out / "colour"))
    assert [(row.state, row.note[:9]) for row in rows] == [("done", "It is a g"), ("done", "")]


def test_hyperstack_of_imagej_gives_a_hyperstack(model: Model, folder: Path) -> None:
    tifffile.imwrite(folder / "ij.tif", _picture(1, 2, 40, 48), imagej=True, metadata={"axes": "TYX", "unit": "um"})
    run(model, [folder / "ij.tif"], BatchConfig(folder.parent / "out"))
    with tifffile.TiffFile(folder.parent / "out" / "ij_labels.tif") as file:
        assert (file.is_imagej, file.series[0].axes) == (True, "TYX")


def test_events_tell_progress_and_the_time_left(model: Model, folder: Path) -> None:
    images = [folder / "a0.tif", folder / "a1.tif"]
    events = list(run_batch(model, images, BatchConfig(folder.parent / "out"), CPU))
    assert isinstance(events[0], BatchStarted)
    assert isinstance(events[-1], BatchFinished)
    assert not events[-1].stopped
    finished = [event for event in events if isinstance(event, ImageFinished)]
    assert [(event.done, event.total) for event in finished] == [(1, 2), (2, 2)]
    assert finished[0].seconds_left == pytest.approx(finished[0].seconds)
    assert finished[1].seconds_left == 0
    assert [event.fraction for event in events if isinstance(event, ImageProgress)] == [0.0, 1.0] * 2


# --- going on


def test_batch_that_was_stopped_goes_on_and_gives_the_same(model: Model, folder: Path) -> None:
    images = find_images([folder / "a*.tif"])
    run(model, images, BatchConfig(folder.parent / "whole"))
    out, seen = folder.parent / "out", []
    events = run_batch(model, images, BatchConfig(out, existing="resume"), CPU, should_stop=lambda: len(seen) >= 4)
    for event in events:
        if isinstance(event, ImageFinished):
            seen.append(event.row)
    assert isinstance(event, BatchFinished)
    assert event.stopped
    assert len(list(out.glob("*.tif"))) == len(table(out)) == 4
    rows = run(model, images, BatchConfig(out, existing="resume"))
    assert [row.state for row in rows] == ["kept"] * 4 + ["done"] * 6
    assert [row.objects for row in rows[:4]] == [row.objects for row in seen]
    for path in (folder.parent / "whole").glob("*.tif"):
        np.testing.assert_array_equal(tifffile.imread(path), tifffile.imread(out / path.name))
    assert len(table(out)) == 10


def test_line_of_the_journal_that_a_kill_cut_off_is_done_again_or_left_alone(model: Model, folder: Path) -> None:
    images, out = find_images([folder / "a[01].tif"]), folder.parent / "out"
    run(model, images, BatchConfig(out))
    journal = out / ".napari-unet.jsonl"
    journal.write_bytes(journal.read_bytes()[:-50])
    (out / "a1_labels.tif").unlink()
    assert [row.state for row in run(model, images, BatchConfig(out, existing="resume"))] == ["kept", "done"]


@pytest.mark.parametrize("change", ["model", "settings", "task", "source"], ids=lambda change: f"another {change}")
def test_what_is_not_the_same_any_more_is_made_again(model: Model, folder: Path, change: str) -> None:
    images, out = [folder / "a0.tif", folder / "a1.tif"], folder.parent / "out"
    run(model, images, BatchConfig(out))
    config, settings, expected = BatchConfig(out, existing="resume"), CPU, ["done", "done"]
    if change == "model":
        model = Model.create(ModelConfig(features=4, depth=1), seed=1)
    elif change == "settings":
        settings = PredictConfig(device="cpu", precision="float32", averaging="flips")
    elif change == "task":
        config = BatchConfig(out, existing="resume", task="classes")
    else:
        write_image(folder / "a1.tif", _picture(99), "YX")
        expected = ["kept", "done"]
    events = run_batch(model, images, config, settings)
    assert [event.row.state for event in events if isinstance(event, ImageFinished)] == expected


@pytest.mark.parametrize("existing", ["keep", "resume"])
def test_corrected_and_foreign_results_are_left_alone(model: Model, folder: Path, existing: Any) -> None:
    images, out = [folder / "a0.tif", folder / "a1.tif"], folder.parent / "out"
    run(model, images[:1], BatchConfig(out))
    write_labels(out / "a0_labels.tif", np.full((40, 48), 7), "YX")
    (out / "a1_labels.tif").write_bytes(b"mine")
    other = Model.create(ModelConfig(features=4, depth=1), seed=1)
    rows = run(other, images, BatchConfig(out, existing=existing))
    assert [row.state for row in rows] == ["kept", "kept"]
    assert all(row.note for row in rows)
    assert np.all(tifffile.imread(out / "a0_labels.tif") == 7)
    assert (out / "a1_labels.tif").read_bytes() == b"mine"
    assert [row.state for row in run(other, images, BatchConfig(out, existing="overwrite"))] == ["done", "done"]


def test_missing_probabilities_are_added_to_labels_that_stay(model: Model, folder: Path) -> None:
    out = folder.parent / "out"
    out.mkdir()
    (out / "a0_labels.tif").write_bytes(b"mine")
    run(model, [folder / "a0.tif"], BatchConfig(out, probabilities=True))
    assert (out / "a0_labels.tif").read_bytes() == b"mine"
    assert read_image(out / "a0_probabilities.tif").array.shape == (2, 40, 48)


def test_results_among_the_images_are_not_segmented_again(model: Model, folder: Path) -> None:
    config = BatchConfig(folder, existing="resume")
    run(model, [folder / "a0.tif"], config)
    images = find_images([folder / "a0*"])
    assert len(images) == 2
    events = list(run_batch(model, images, config, CPU))
    assert [event.row.file for event in events if isinstance(event, ImageFinished)] == [str(folder / "a0.tif")]
    assert any(isinstance(event, BatchNote) and "results of an earlier run" in event.message for event in events)


def test_table_keeps_what_earlier_runs_found(model: Model, folder: Path) -> None:
    out = folder.parent / "out"
    for name in ("a0.tif", "a1.tif"):
        run(model, [folder / name], BatchConfig(out))
    assert [Path(line["file"]).name for line in table(out)] == ["a0.tif", "a1.tif"]


# --- what stands in the way


def test_folder_that_can_not_be_used_is_told_before_anything_runs(model: Model, folder: Path) -> None:
    images = [folder / "a0.tif"]
    with pytest.raises(InputError, match="is a file; choose a folder"):
        run(model, images, BatchConfig(folder / "a0.tif"))
    with pytest.raises(InputError, match=r"would overwrite the image .*a0\.tif"):
        run(model, images, BatchConfig(folder, suffix="", existing="overwrite"))
    (folder / "results.csv").write_text("my,own,table\n")
    with pytest.raises(InputError, match="not a table of a batch"):
        run(model, images, BatchConfig(folder))
    assert (folder / "results.csv").read_text() == "my,own,table\n"
    if os.name != "nt" and os.geteuid():
        (folder.parent / "locked").mkdir(mode=0o500)
        with pytest.raises(StorageError, match="no permission"):
            run(model, images, BatchConfig(folder.parent / "locked" / "out"))


def test_full_disk_ends_the_batch_with_one_message(model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *arguments: Any, **options: Any) -> None:
        if "a1" not in path.name:
            return write_labels(path, *arguments, **options)
        raise StorageError(f"{path} can't be written: disk full.") from OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(batch_run, "write_labels", full)
    images, out = find_images([folder / "a*.tif"]), folder.parent / "out"
    with pytest.raises(StorageError, match="disk full"):
        run(model, images, BatchConfig(out))
    assert [Path(line["file"]).name for line in table(out)] == ["a0.tif"]


def test_table_that_is_open_elsewhere_is_told_once_and_written_later(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_writer, calls = batch_run.BatchRecord.write_table, iter(range(10))

    def locked(record: Any) -> None:
        if next(calls) < 2:
            raise StorageError("results.csv can't be written: another program has the file open.")
        true_writer(record)

    monkeypatch.setattr(batch_run.BatchRecord, "write_table", locked)
    out = folder.parent / "out"
    events = list(run_batch(model, find_images([folder / "a[012].tif"]), BatchConfig(out), CPU))
    assert sum(isinstance(event, BatchNote) for event in events) == 1
    assert len(table(out)) == 3


def test_defect_of_one_image_is_a_line_and_the_rest_is_done(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_labels: Callable[..., Any] = batch_run.labels_from_probabilities

    def broken(probabilities: Any, *arguments: Any, **options: Any) -> Any:
        if probabilities.shape[1:] == (41, 48):
            raise RuntimeError("shapes\ndiffer")
        return true_labels(probabilities, *arguments, **options)

    monkeypatch.setattr(batch_run, "labels_from_probabilities", broken)
    write_image(folder / "a1.tif", _picture(1, 41, 48), "YX")
    rows = run(model, find_images([folder / "a[012].tif"]), BatchConfig(folder.parent / "out"))
    assert [row.state for row in rows] == ["done", "failed", "done"]
    assert rows[1].error == "unexpected RuntimeError: shapes differ"


def test_stop_in_the_middle_of_an_image_leaves_nothing_of_it(model: Model, folder: Path) -> None:
    asked: Iterator[int] = iter(range(100))
    out = folder.parent / "out"
    small = PredictConfig(device="cpu", tile=16)
    events = list(run_batch(model, [folder / "a0.tif"], BatchConfig(out), small, should_stop=lambda: next(asked) >= 4))
    assert isinstance(events[-1], BatchFinished)
    assert events[-1].stopped
    assert not [event for event in events if isinstance(event, ImageFinished)]
    assert list(out.iterdir()) == []
