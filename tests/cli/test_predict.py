"""`napari-unet predict`: many images through one model, and one that fails does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_unet.batch import large as batch_large
from napari_unet.batch import run as batch_run
from napari_unet.data.files import read_image, write_image, write_labels
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig


def test_folder_is_segmented_with_axes_and_pixel_size(squares: Path, untrained: Path, run: Callable[..., Any]) -> None:
    done = run("predict", untrained, squares, "-o", squares / "out", "--probabilities", "--device", "cpu")
    assert done.code == 0, done
    assert "2 segmented" in done.out
    for number in (1, 2):
        labels = read_image(squares / "out" / f"img{number}_labels.tif")
        assert (labels.array.shape, labels.axes, labels.spacing) == ((64, 72), "YX", (0.5, 0.25))
        probabilities = read_image(squares / "out" / f"img{number}_probabilities.tif")
        assert (probabilities.array.shape, probabilities.axes) == ((2, 64, 72), "CYX")
        np.testing.assert_allclose(np.asarray(probabilities.array).sum(axis=0), 1, atol=1e-5)


def test_planes_are_stitched_where_asked_for(tmp_path: Path, untrained: Path, run: Callable[..., Any]) -> None:
    noise = np.random.default_rng(0).random((32, 40))
    write_image(tmp_path / "stack.tif", np.stack([noise] * 3).astype(np.float32), "ZYX")
    arguments = ("predict", untrained, tmp_path / "stack.tif", "--device", "cpu", "--task", "objects", "-o")
    assert run(*arguments, tmp_path / "planes").code == 0
    assert run(*arguments, tmp_path / "volume", "--stitch", "0.5").code == 0
    planes, volume = (tifffile.imread(tmp_path / name / "stack_labels.tif") for name in ("planes", "volume"))
    assert planes.max() == 3 * planes[0].max() > 0
    np.testing.assert_array_equal(volume, np.stack([planes[0]] * 3))
    flat = tmp_path / "flat.tif"
    write_image(flat, noise.astype(np.float32), "YX")
    refused = run("predict", untrained, flat, "-o", tmp_path / "flat", "--task", "objects", "--stitch", "0.5")
    assert refused.code == 1
    assert "no Z axis" in str(refused)


def test_result_does_not_depend_on_the_tile(squares: Path, untrained: Path, run: Callable[..., Any]) -> None:
    for tile in ("64", "16", "20,36"):
        done = run("predict", untrained, squares / "img1.tif", "-o", squares / tile, "--tile", tile,
                   "--task", "classes", "--precision", "float32", "--device", "cpu")  # fmt: skip
        assert done.code == 0, done
    first, *rest = (tifffile.imread(squares / tile / "img1_labels.tif") for tile in ("64", "16", "20,36"))
    assert set(np.unique(first)) <= {1, 2}
    assert all(np.array_equal(first, other) for other in rest)
    assert run("predict", untrained, squares / "img1.tif", "--tile", "wide").code == 2


def test_large_result_is_kept_on_the_disk_meanwhile(
    squares: Path, untrained: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("predict", untrained, squares / "img1.tif", "--device", "cpu", "--probabilities", "-o")
    assert run(*arguments, squares / "memory").code == 0
    monkeypatch.setattr(batch_large, "_MOST_BYTES", 1000)
    assert run(*arguments, squares / "disk").code == 0
    for name in ("img1_labels.tif", "img1_probabilities.tif"):
        assert np.array_equal(tifffile.imread(squares / "memory" / name), tifffile.imread(squares / "disk" / name))
    assert len(list((squares / "disk").glob("[!.]*"))) == 3


def test_bad_file_is_told_and_the_rest_is_done(squares: Path, untrained: Path, run: Callable[..., Any]) -> None:
    (squares / "img0.tif").write_bytes(b"not an image")
    write_image(squares / "img3.tif", np.zeros((2, 40, 40), np.uint8), "CYX")
    done = run("predict", untrained, squares, "-o", squares / "out", "--device", "cpu")
    assert done.code == 1
    assert "Error: img0.tif can't be read" in done.err
    assert "Error: img3.tif: The model reads 1 channel, but the image has 2" in done.err
    assert "2 segmented, 2 failed" in done.out
    written = sorted(path.name for path in (squares / "out").glob("[!.]*"))
    assert written == ["img1_labels.tif", "img2_labels.tif", "results.csv"]
    states = [line.split("\t")[:2] for line in done.out.splitlines() if "\t" in line]
    assert states == [["failed", "img0.tif"], ["done", "img1.tif"], ["done", "img2.tif"], ["failed", "img3.tif"]]


def test_defect_that_one_image_brings_out_does_not_stop_the_rest(
    squares: Path, untrained: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_writer = write_labels

    def failing(path: Path, *arguments: Any, **options: Any) -> None:
        if "img1" in path.name:
            raise RuntimeError("shapes differ")
        true_writer(path, *arguments, **options)

    monkeypatch.setattr(batch_run, "write_labels", failing)
    done = run("predict", untrained, squares, "-o", squares / "out", "--device", "cpu")
    assert done.code == 1
    assert "Error: img1.tif: unexpected RuntimeError: shapes differ" in done.err
    assert "1 segmented, 1 failed" in done.out


def test_result_that_is_there_is_kept_unless_asked(squares: Path, untrained: Path, run: Callable[..., Any]) -> None:
    corrected = squares / "out" / "img1_labels.tif"
    corrected.parent.mkdir()
    corrected.write_bytes(b"hours of corrections")
    arguments = ("predict", untrained, squares / "img1.tif", "-o", squares / "out", "--device", "cpu")
    done = run(*arguments)
    assert done.code == 0
    assert "kept\timg1.tif" in done.out
    assert corrected.read_bytes() == b"hours of corrections"
    assert run(*arguments, "--overwrite").code == 0
    assert read_image(corrected).array.shape == (64, 72)


@pytest.mark.parametrize("kind", ["tif", "png", "npy", "zarr", "nii.gz"])
def test_results_come_in_the_wanted_format(squares: Path, untrained: Path, run: Callable[..., Any], kind: str) -> None:
    arguments = ("-o", squares / "out", "--format", kind, "--suffix", ".seg", "--device", "cpu")
    assert run("predict", untrained, squares / "img1.tif", *arguments).code == 0
    assert read_image(squares / "out" / f"img1.seg.{kind}").array.shape == (64, 72)


def test_array_in_an_npz_is_named_after_its_key(squares: Path, untrained: Path, run: Callable[..., Any]) -> None:
    np.savez(squares / "set.npz", a=np.random.default_rng(0).random((40, 40)), b=np.eye(40))
    done = run("predict", untrained, f"{squares / 'set.npz'}:a", "-o", squares / "out", "--device", "cpu")
    assert done.code == 0, done
    assert (squares / "out" / "set_a_labels.tif").exists()


def test_images_are_never_overwritten(squares: Path, untrained: Path, run: Callable[..., Any]) -> None:
    before = (squares / "img1.tif").read_bytes()
    arguments = ("predict", untrained, squares / "img1.tif", "-o", squares, "--suffix", "", "--overwrite")
    assert "would overwrite the image" in run(*arguments).error_line()
    assert (squares / "img1.tif").read_bytes() == before


def test_stack_is_read_with_the_axes_that_are_said(tmp_path: Path, run: Callable[..., Any]) -> None:
    write_image(tmp_path / "x.npy", np.random.default_rng(0).random((2, 40, 48)))
    model = tmp_path / "m.safetensors"
    Model.create(ModelConfig(features=4, depth=1, in_channels=2)).save(model)
    arguments = ("predict", model, tmp_path / "x.npy", "-o", tmp_path / "out", "--device", "cpu")
    assert "The model reads 2 channels, but the image has 1" in run(*arguments).error_line()
    assert run(*arguments, "--axes", "cyx").code == 0
    assert read_image(tmp_path / "out" / "x_labels.npy").array.shape == (40, 48)


def test_resume_goes_on_and_tells_what_was_left_alone(squares: Path, untrained: Path, run: Callable[..., Any]) -> None:
    arguments = ("predict", untrained, squares, "-o", squares / "out", "--device", "cpu", "--resume")
    assert "2 segmented" in run(*arguments).out
    (squares / "out" / "img1_labels.tif").unlink()
    write_labels(squares / "out" / "img2_labels.tif", np.ones((64, 72), np.uint8), "YX")
    done = run(*arguments)
    assert done.code == 0
    assert "1 segmented, 1 kept as they were" in done.out
    assert "img2.tif: The result that is there was changed since" in done.err
    assert read_image(squares / "out" / "img2_labels.tif").array.all()
    assert run(*arguments, "--overwrite").code == 2


@pytest.mark.parametrize(
    ("model", "images", "words"),
    [
        ("gone.safetensors", "img1.tif", "gone.safetensors does not exist"),
        ("img1.tif", "img1.tif", "img1.tif is not a napari-unet model"),
        ("model/small.unet.safetensors", "gone/*.tif", "No image matches"),
        ("model/small.unet.safetensors", "model", "holds no image"),
    ],
)
def test_wrong_files_end_with_one_line(
    squares: Path, untrained: Path, run: Callable[..., Any], model: str, images: str, words: str
) -> None:
    assert words in run("predict", squares / model, squares / images, "-o", squares / "out").error_line()
    assert not (squares / "out").exists()
