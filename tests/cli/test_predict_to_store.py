"""`napari-unet predict` with results that are stores: one image to NAME.zarr, several to a folder, or by workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_unet as nu
from napari_unet.data.files import read_image
from napari_unet.predict.tile_store import TileStore

Run = Callable[..., Any]


def test_an_image_is_predicted_to_a_store_and_an_unfinished_one_completed(
    squares: Path, untrained: Path, run: Run
) -> None:
    image, out = squares / "img1.tif", squares / "img1.zarr"
    settings = ("--task", "classes", "--tile", "16", "--precision", "float32", "--device", "cpu")
    done = run("predict", untrained, image, "--out", out, *settings)
    assert done.code == 0, done
    assert done.out.startswith(f"done\timg1.tif\t{out}\t")
    read = read_image(out)
    assert (read.axes, read.spacing) == ("YX", (0.5, 0.25))
    config = nu.PredictConfig(device="cpu", precision="float32")
    expected = nu.segment(nu.Model.load(untrained), read_image(image).array, task="classes", config=config)
    np.testing.assert_array_equal(read.array[:], expected)
    store = TileStore.open(out)
    store.tiles.remove((1, 2))
    assert store.missing() == [(1, 2)]
    assert run("predict", untrained, image, "--out", out, *settings).code == 0
    np.testing.assert_array_equal(read_image(out).array[:], expected)
    refused = run("predict", untrained, squares / "img2.tif", "--out", out, *settings)
    assert "img1.zarr is a prediction of another image; choose another name" in refused.error_line()
    assert run("predict", untrained, squares / "img2.tif", "--out", out, *settings, "--overwrite").code == 0


def test_a_stop_is_told_with_how_to_go_on(
    squares: Path, untrained: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import contextmanager

    monkeypatch.setattr("napari_unet.cli.store_prediction.stop_on_signal", contextmanager(lambda: iter([lambda: True])))
    done = run("predict", untrained, squares / "img1.tif", "--out", squares / "a.zarr", "--device", "cpu")
    assert done.code == 1
    assert done.out.strip() == f"Stopped. {squares / 'a.zarr'} is not complete; the same command goes on from here."


def test_a_cluster_predicts_a_folder_to_stores_and_one_bad_image_does_not_stop_the_rest(
    squares: Path, untrained: Path, run: Run
) -> None:
    distributed = pytest.importorskip("distributed")
    (squares / "img0.tif").write_bytes(b"not an image")
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster:
        done = run("predict", untrained, squares, "-o", squares / "out", "--probabilities", "--tile", 32,
                   "--device", "cpu", "--precision", "float32", "--scheduler", cluster.scheduler_address)  # fmt: skip
    assert done.code == 1
    assert "Error: img0.tif can't be read" in done.err
    config = nu.PredictConfig(device="cpu", precision="float32")
    for number in (1, 2):
        image = read_image(squares / f"img{number}.tif").array
        stored = read_image(squares / "out" / f"img{number}_probabilities.zarr")
        assert stored.axes == "CYX"
        np.testing.assert_allclose(
            stored.array[:], nu.predict(nu.Model.load(untrained), image, config=config), atol=1e-5
        )


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--out", "a.zarr"), 1, "holds the result of one image, not of 2; name a folder"),
        (("--workers", "2", "--format", "tif"), 1, "results are zarr, but --format asks for tif"),
        (("--workers", "2", "--scheduler", "tcp://127.0.0.1:1"), 2, "choose one"),
        (("--workers", "0"), 2, "'--workers'"),
    ],
)
def test_what_does_not_fit_together_is_told(
    options: tuple[str, ...], code: int, words: str, squares: Path, untrained: Path, run: Run
) -> None:
    done = run("predict", untrained, squares / "img1.tif", squares / "img2.tif", *options)
    assert done.code == code
    assert words in " ".join(done.err.replace("│", " ").split())
