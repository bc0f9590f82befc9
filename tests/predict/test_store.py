"""A prediction on the disk is the prediction in memory, is completed after any interruption, and is never mixed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import torch
import zarr

import napari_unet as nu
from napari_unet.data.files import read_image, write_image
from napari_unet.data.storage import StorageError
from napari_unet.errors import FileFormatError, InputError
from napari_unet.models.model import Model
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictFinished, PredictRecovered, PredictStarted, TileStored
from napari_unet.predict.store import predict_to_store
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.tiled import predict

MakeModel = Callable[..., Model]
PLAIN = PredictConfig(tile=16, device="cpu", precision="float32")


def run(*arguments: Any, **settings: Any) -> list[Any]:
    return list(predict_to_store(*arguments, **{"config": PLAIN, **settings}))


def result(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(TileStore.open(path).levels()[0].compute())


@pytest.mark.parametrize(
    ("axes", "shape", "settings"),
    [
        ("YX", (41, 53), {}),
        ("XY", (41, 53), {}),
        ("YXS", (41, 33, 3), {"in_channels": 3}),
        ("TYX", (3, 20, 37), {}),
        ("XTCY", (37, 2, 2, 40), {"in_channels": 2}),
        ("ZYX", (9, 20, 37), {"ndim": 3}),
        ("YX", (41, 53), {"padding": "valid", "classes": ("background", "a", "b")}),
    ],
)
def test_a_store_holds_what_predict_returns(
    axes: str, shape: tuple[int, ...], settings: dict[str, Any], make_model: MakeModel, rng: np.random.Generator,
    tmp_path: Path,
) -> None:  # fmt: skip
    model, image = make_model(**settings), rng.random(shape)
    expected = predict(model, image, axes, PLAIN)
    events = run(model, image, tmp_path / "p.zarr", axes, content="probabilities")
    np.testing.assert_array_equal(result(tmp_path / "p.zarr"), expected)
    run(model, image, tmp_path / "c.zarr", axes, task="classes")
    np.testing.assert_array_equal(result(tmp_path / "c.zarr"), expected.argmax(axis=0) + 1)
    assert result(tmp_path / "c.zarr").dtype == np.uint8
    started, *tiles, finished = events
    assert isinstance(started, PredictStarted)
    assert started.shape == expected.shape
    assert isinstance(finished, PredictFinished)
    assert not finished.stopped
    assert [event.done for event in tiles] == list(range(1, started.total + 1))
    count = np.zeros(expected.shape[1:], int)
    for event in tiles:
        assert isinstance(event, TileStored)
        count[event.box] += 1
    assert (count == 1).all()


def test_objects_are_those_of_segment(make_model: MakeModel, rng: np.random.Generator, tmp_path: Path) -> None:
    model, image = make_model(), rng.random((2, 41, 53))
    events = run(model, image, tmp_path / "o.zarr", "TYX", task="objects")
    labels = result(tmp_path / "o.zarr")
    expected = nu.segment(model, image, "TYX", task="objects", config=PLAIN)
    assert expected.max() > 2
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels, expected)
    assert {event.total for event in events} == {3 * 24}
    assert [event.done for event in events] == [*range(73), 72]
    assert [event.labelled for event in events if isinstance(event, TileStored)].count(True) == 24
    assert sorted(entry.name for entry in (tmp_path / "o.zarr").iterdir()) == ["labels", "zarr.json"]
    read = read_image(tmp_path / "o.zarr")
    assert read.axes == "TYX"
    np.testing.assert_array_equal(read.array[:], labels)


@pytest.mark.parametrize("stop", [3, 30, 60])
def test_objects_that_were_stopped_at_any_stage_are_completed(
    stop: int, make_model: MakeModel, rng: np.random.Generator, tmp_path: Path
) -> None:
    model, image = make_model(), rng.random((2, 41, 53))
    for event in predict_to_store(model, image, tmp_path / "o.zarr", "TYX", PLAIN, task="objects"):
        if event.done == stop:
            break
    again = run(model, image, tmp_path / "o.zarr", "TYX", task="objects")
    assert again[-1].done == again[-1].total == 72
    expected = nu.segment(model, image, "TYX", task="objects", config=PLAIN)
    np.testing.assert_array_equal(result(tmp_path / "o.zarr"), expected)
    assert sorted(entry.name for entry in (tmp_path / "o.zarr").iterdir()) == ["labels", "zarr.json"]


@pytest.mark.parametrize("kind", ["memmap", "dask", "zarr 2", "zarr 3", "path"])
def test_images_of_any_kind_give_the_same(
    kind: str, make_model: MakeModel, rng: np.random.Generator, tmp_path: Path
) -> None:
    image = rng.integers(0, 4000, (41, 53)).astype(np.uint16)
    source: Any = image
    if kind == "memmap":
        np.save(tmp_path / "a.npy", image)
        source = np.load(tmp_path / "a.npy", mmap_mode="r")
    elif kind == "dask":
        source = dask.array.from_array(image, chunks=(16, 20))
    elif kind.startswith("zarr"):
        source = zarr.create_array(tmp_path / "a.zarr", data=image, chunks=(16, 20), zarr_format=int(kind[-1]))
    else:
        source = tmp_path / "a.tif"
        write_image(source, image, "YX", (0.5, 0.25))
    model = make_model()
    run(model, image, tmp_path / "p.zarr", content="probabilities")
    assert result(tmp_path / "p.zarr").tobytes() == predict(model, image, config=PLAIN).tobytes()
    left = run(model, source, tmp_path / "p.zarr", content="probabilities")
    assert [type(event) for event in left] == [PredictStarted, PredictFinished]  # it is known as the same image


def test_other_programs_find_an_ome_zarr_with_smaller_versions(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path
) -> None:
    image = rng.random((2, 70, 2100), dtype=np.float32)
    model = make_model(features=2, depth=1)
    config = PredictConfig(tile=(64, 500), device="cpu", precision="float32")
    run(model, image, tmp_path / "p.zarr", "TYX", content="probabilities", config=config, spacing=(0.5, 0.25))
    store = TileStore.open(tmp_path / "p.zarr")
    whole, half, quarter = store.levels()
    assert store.tiles.tile == (1, 2, 64, 500)
    np.testing.assert_array_equal(half, whole[..., ::2, ::2])
    np.testing.assert_array_equal(quarter, whole[..., ::4, ::4])
    read = read_image(tmp_path / "p.zarr")
    assert (read.axes, read.spacing) == ("TCYX", (0.5, 0.25))
    np.testing.assert_array_equal(read.array[:], whole.transpose(1, 0, 2, 3))
    scales = [
        level["coordinateTransformations"][0]["scale"]
        for level in zarr.open_group(tmp_path / "p.zarr").attrs["ome"]["multiscales"][0]["datasets"]  # type: ignore[index,call-overload]
    ]
    assert scales == [[1, 1, 0.5, 0.25], [1, 1, 1.0, 0.5], [1, 1, 2.0, 1.0]]


def test_what_was_stopped_is_completed_without_repeating_a_tile(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path
) -> None:
    model, image = make_model(), rng.random((41, 53))
    runs: list[int] = []
    model.network.register_forward_hook(lambda *_: runs.append(1))
    answers = iter([False] * 5)
    stopped = run(model, image, tmp_path / "a.zarr", task="classes", should_stop=lambda: next(answers, True))
    assert isinstance(stopped[-1], PredictFinished)
    assert stopped[-1].stopped
    assert 0 < stopped[-1].done < 12
    assert stopped[-1].done == 12 - len(TileStore.open(tmp_path / "a.zarr").missing())
    events = run(model, image, tmp_path / "a.zarr", task="classes")
    assert events[0].done == stopped[-1].done
    assert len(runs) == 12
    assert not events[-1].stopped
    run(model, image, tmp_path / "b.zarr", task="classes")
    np.testing.assert_array_equal(result(tmp_path / "a.zarr"), result(tmp_path / "b.zarr"))


def test_the_consumer_may_leave_at_any_event(make_model: MakeModel, rng: np.random.Generator, tmp_path: Path) -> None:
    model, image = make_model(), rng.random((41, 53))
    events: Iterator[Any] = predict_to_store(model, image, tmp_path / "a.zarr", config=PLAIN, content="probabilities")
    for event in events:
        if isinstance(event, TileStored) and event.done == 3:
            break
    events.close()  # type: ignore[attr-defined]
    assert len(TileStore.open(tmp_path / "a.zarr").missing()) <= 9
    run(model, image, tmp_path / "a.zarr", content="probabilities")
    np.testing.assert_array_equal(result(tmp_path / "a.zarr"), predict(model, image, config=PLAIN))


def test_the_grey_values_are_those_of_the_first_run(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = make_model(), rng.random((41, 53))
    unbroken = predict(model, image, config=PLAIN)
    answers = iter([False] * 4)
    run(model, image, tmp_path / "a.zarr", content="probabilities", should_stop=lambda: next(answers, True))
    monkeypatch.setattr("napari_unet.data.intensity.measure_range", lambda *_, **__: pytest.fail("measured again"))
    monkeypatch.setattr("napari_unet.predict.store_plan.measure_range", lambda *_, **__: pytest.fail("measured again"))
    run(model, image, tmp_path / "a.zarr", content="probabilities")
    np.testing.assert_array_equal(result(tmp_path / "a.zarr"), unbroken)


def test_a_store_of_something_else_is_refused_and_stays_as_it_is(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path
) -> None:
    model, image, path = make_model(), rng.random((41, 53)), tmp_path / "a.zarr"
    run(model, image, path, content="probabilities")
    before = result(path)
    trained = make_model()
    with torch.no_grad():
        next(trained.network.parameters()).add_(1e-3)
    changed = image.copy()
    changed[20, 20] += 1e-6
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        (model, changed, {}, "of another image"),
        (model, image[:40], {}, "of another image"),
        (model, image.astype(np.float32), {}, "of another image"),
        (trained, image, {}, "by another model"),
        (model, image, {"content": "labels", "task": "classes"}, "holds probabilities, not labels of classes"),
        (model, image, {"config": PredictConfig(tile=32, device="cpu", precision="float32")}, "tiles of 16 x 16"),
        (model, image, {"config": PredictConfig(device="cpu", averaging="flips")}, "with other settings"),
    ]
    for other, picture, settings, reason in cases:
        with pytest.raises(InputError, match=f"a.zarr is a prediction .*{reason}.*choose another name") as caught:
            run(other, picture, path, **{"content": "probabilities", **settings})
        assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(result(path), before)
    run(trained, image, path, content="probabilities", overwrite=True)
    assert not np.array_equal(result(path), before)


def test_what_is_no_prediction_is_refused(make_model: MakeModel, rng: np.random.Generator, tmp_path: Path) -> None:
    model, image = make_model(), rng.random((41, 53))
    write_image(tmp_path / "image.zarr", image, "YX")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("all of it")
    (tmp_path / "file.zarr").write_text("a file")
    damaged = tmp_path / "damaged.zarr"
    run(model, image, damaged, task="classes")
    (damaged / "zarr.json").write_text((damaged / "zarr.json").read_text()[:200])
    for name in ("image.zarr", "folder", "file.zarr", "damaged.zarr"):
        with pytest.raises(FileFormatError, match=f"{name} holds no .*prediction"):
            run(model, image, tmp_path / name, task="classes")
    with pytest.raises(StorageError, match="a folder with that name is there already"):
        run(model, image, tmp_path / "folder", overwrite=True)
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "all of it"
    with pytest.raises(InputError, match="'labels' or 'probabilities', but got 'masks'"):
        run(model, image, tmp_path / "b.zarr", content="masks")
    with pytest.raises(InputError, match="'objects' or 'classes', but got 'cells'"):
        run(model, image, tmp_path / "b.zarr", task="cells")
    assert not (tmp_path / "b.zarr").exists()


def test_a_full_disk_is_told_once_and_the_store_completed_later(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image, path = make_model(), rng.random((41, 53)), tmp_path / "a.zarr"
    flush, flushed = os.fsync, []

    def full(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"a.zarr can't be written: disk full; .* the same .* completes it"):
            run(model, image, path, content="probabilities")
    left = len(TileStore.open(path).missing())
    assert 0 < left < 12
    events = run(model, image, path, content="probabilities")
    assert events[0].done == 12 - left
    np.testing.assert_array_equal(result(path), predict(model, image, config=PLAIN))


def test_a_tile_that_was_cut_for_want_of_memory_is_stored_whole(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path
) -> None:
    model, image = make_model(), rng.random((41, 53))
    config = PredictConfig(tile=32, device="cpu", precision="float32")

    def refuse_large(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[-1] > 56:
            raise MemoryError

    model.network.register_forward_pre_hook(refuse_large)
    events = run(model, image, tmp_path / "a.zarr", content="probabilities", config=config)
    assert any(isinstance(event, PredictRecovered) for event in events)
    assert {event.total for event in events} == {4}
    assert TileStore.open(tmp_path / "a.zarr").tiles.tile == (2, 32, 32)
    np.testing.assert_allclose(result(tmp_path / "a.zarr"), predict(model, image, config=PLAIN), atol=1e-5)
