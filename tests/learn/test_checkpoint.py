"""A training on disk: a killed one goes on where it was, and what is no such file is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_unet.errors import ModelFileError
from napari_unet.learn import run as run_module
from napari_unet.learn.checkpoint import Progress
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.events import FitEvent, FitFinished, FitRecovered, FitScored, FitStarted
from napari_unet.learn.fit import fit
from napari_unet.models.model import Model
from napari_unet.nets.tensor_file import load_tensors, save_tensors
from tests.quickness import Attempts, Bound

Make = Callable[..., Any]


def _run(
    model: Model, sample: Any, config: TrainConfig, path: Path | None, stop_at: int | None = None
) -> list[FitEvent]:
    """Train; with `stop_at`, ask to stop when that step is done."""
    events: list[FitEvent] = []

    def should_stop() -> bool:
        return stop_at is not None and bool(events) and events[-1].step >= stop_at

    for event in fit(model, [sample], config, device="cpu", should_stop=should_stop, checkpoint=path):
        events.append(event)
    return events


def _state(model: Model) -> dict[str, torch.Tensor]:
    return dict(model.network.state_dict())


@pytest.mark.parametrize(
    ("settings", "training"),
    [
        ({}, {}),
        ({"dropout": 0.4}, {}),
        ({"norm": "group"}, {}),
        ({"padding": "valid", "norm": None}, {}),
        ({"ndim": 3}, {}),
        ({"dropout": 0.4}, {"consistency": 20.0}),
        ({}, {"freeze_encoder": True, "loss": "cross-entropy+boundary"}),
    ],
)
def test_two_halves_are_as_one_whole(
    settings: dict[str, Any],
    training: dict[str, Any],
    make_model: Make,
    make_sample: Make,
    quick: Make,
    tmp_path: Path,
) -> None:
    config = quick(max_steps=40, validate_every=16, batch_size=2, **training)
    sample = make_sample((8, 24, 24) if settings.get("ndim") == 3 else (64, 64))
    whole, halves = make_model(**settings), make_model(**settings)
    whole.history = halves.history = {"steps": 1}
    complete = _run(whole, sample, config, None)
    path = tmp_path / "training.safetensors"
    first = _run(halves, sample, config, path, stop_at=20)
    assert isinstance(first[-1], FitFinished)
    assert (first[-1].step, first[-1].stopped) == (20, True)
    second = _run(halves, sample, config, path)
    assert isinstance(second[0], FitStarted)
    assert second[0].step == 20
    assert isinstance(second[-1], FitFinished)
    assert second[-1].step == 40
    scores = [(e.step, e.score) for e in first + second if isinstance(e, FitScored)]
    assert scores == [(e.step, e.score) for e in complete if isinstance(e, FitScored)]
    for key, value in _state(whole).items():
        torch.testing.assert_close(_state(halves)[key], value, rtol=1e-4, atol=1e-5)


def test_a_killed_training_goes_on_from_its_last_file(
    make_model: Make, make_sample: Make, quick: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_CHECKPOINT_EVERY_SECONDS", 0.0)
    config, sample = quick(max_steps=12, validate_every=100), make_sample()
    path, copy = tmp_path / "training.safetensors", tmp_path / "copy.safetensors"
    whole = make_model()
    for event in fit(whole, [sample], config, device="cpu", checkpoint=path):
        if event.step == 8 and path.exists() and not copy.exists():
            shutil.copy(path, copy)  # what is on disk if the power fails now
    resumed = make_model()
    events = _run(resumed, sample, config, copy)
    assert 7 <= events[0].step <= 8
    for key, value in _state(whole).items():
        if "running" not in key and "num_batches" not in key:  # statistics come from the crops since the start
            torch.testing.assert_close(_state(resumed)[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.timed
def test_seconds_and_the_best_score_go_on_too(
    make_model: Make, make_sample: Make, quick: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, sample, path = quick(max_steps=None, max_seconds=1.0), make_sample(), tmp_path / "training.safetensors"
    doubts: list[float] = []
    takes = Progress.takes
    monkeypatch.setattr(
        Progress, "takes", lambda self, score, doubt=0.0: doubts.append(doubt) or takes(self, score, doubt)
    )
    _run(make_model(), sample, quick(max_steps=1), path)  # the first of a program takes longer
    for attempt in Attempts():
        path.unlink(missing_ok=True)
        first = _run(make_model(), sample, config, path, stop_at=11)
        second = _run(make_model(), sample, config, path)
        assert isinstance(first[-1], FitFinished)
        assert isinstance(second[-1], FitFinished)
        assert first[-2].seconds <= second[0].seconds  # those that writing the checkpoint took are not in it
        attempt.hold("seconds until it goes on", second[0].seconds - first[-2].seconds, Bound(0.5, 5))
        attempt.hold("seconds of both", second[-1].seconds, Bound(1.6, 6))
    assert first[-1].best is not None
    assert second[-1].best is not None
    best, highest = first[-1].best, max(event.score for event in first if isinstance(event, FitScored))
    for event in second:
        if isinstance(event, FitScored):  # the last of those is kept that lie within chance of the highest of both
            highest = max(highest, event.score)
            assert event.improved == (event.score >= highest - doubts[-1])
            best = event.score if event.improved else best
            assert event.best == best
    assert second[-1].best == best


def test_a_finished_training_has_nothing_left_to_do(
    make_model: Make, make_sample: Make, quick: Make, tmp_path: Path
) -> None:
    path, model, again = tmp_path / "training.safetensors", make_model(), make_model()
    _run(model, make_sample(), quick(), path)
    events = _run(again, make_sample(), quick(), path)
    assert [type(event) for event in events] == [FitStarted, FitFinished]
    for key, value in _state(model).items():
        assert torch.equal(_state(again)[key], value)
    more = _run(again, make_sample(), quick(max_steps=12), path)  # the budget may be raised
    assert (more[0].step, more[-1].step) == (10, 12)


def test_without_strokes_to_hold_out_it_goes_on_too(
    make_model: Make, make_sample: Make, quick: Make, tmp_path: Path
) -> None:
    path, model = tmp_path / "training.safetensors", make_model()
    _run(model, make_sample(), quick(holdout=0.0), path, stop_at=4)
    events = _run(model, make_sample(), quick(holdout=0.0), path)
    assert (events[0].step, events[-1].step) == (4, 10)


def test_a_recovered_training_is_saved_in_its_good_state(
    make_model: Make, make_sample: Make, quick: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped right after a step that went wrong, the file must not hold the spoilt weights."""
    from napari_unet.learn import trainer as trainer_module

    true, calls = trainer_module.segmentation_loss, iter(range(1, 10_000))

    def spoilt(*arguments: Any, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = true(*arguments, **options)
        return loss * float("nan") if next(calls) == 8 else loss

    monkeypatch.setattr(trainer_module, "segmentation_loss", spoilt)
    path = tmp_path / "training.safetensors"
    _run(make_model(), make_sample(), quick(), path, stop_at=8)
    tensors, _ = load_tensors(path)
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())
    events = _run(make_model(), make_sample(), quick(), path)
    assert not [event for event in events if isinstance(event, FitRecovered)]


# ------------------------------------------------------------------------------------------------------ wrong files


@pytest.fixture
def checkpoint(make_model: Make, make_sample: Make, quick: Make, tmp_path: Path) -> Path:
    path = tmp_path / "training.safetensors"
    _run(make_model(), make_sample(), quick(), path, stop_at=6)
    return path


def _refused(model: Model, sample: Any, config: TrainConfig, path: Path) -> str:
    before = {key: value.clone() for key, value in _state(model).items()}
    content = path.read_bytes()
    with pytest.raises(ModelFileError) as caught:
        _run(model, sample, config, path)
    assert path.read_bytes() == content  # left for the person to look at
    assert all(torch.equal(before[key], value) for key, value in _state(model).items())
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "html"])
def test_a_damaged_file_is_refused(
    damage: str, checkpoint: Path, make_model: Make, make_sample: Make, quick: Make
) -> None:
    content = bytearray(checkpoint.read_bytes())
    if damage == "flipped":
        content[-100] ^= 4
    changed = {"truncated": content[: len(content) // 2], "empty": b"", "html": b"<!DOCTYPE html><p>404</p>"}
    checkpoint.write_bytes(changed.get(damage, content))
    _refused(make_model(), make_sample(), quick(), checkpoint)


def test_a_model_is_no_checkpoint_and_the_other_way_round(
    checkpoint: Path, make_model: Make, make_sample: Make, quick: Make, tmp_path: Path
) -> None:
    make_model().save(tmp_path / "model.safetensors")
    words = _refused(make_model(), make_sample(), quick(), tmp_path / "model.safetensors")
    assert "not a checkpoint" in words
    with pytest.raises(ModelFileError, match="not a model"):
        Model.load(checkpoint)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"learning_rate": 0.01}, {"task": "classes"}, {"crop": 32}, {"holdout": 0.3}]
)
def test_a_training_with_other_settings_is_refused(
    change: dict[str, Any], checkpoint: Path, make_model: Make, make_sample: Make, quick: Make
) -> None:
    words = _refused(make_model(), make_sample(), replace(quick(), **change), checkpoint)
    assert "other settings" in words


@pytest.mark.parametrize(
    "change", [{"features": 8}, {"depth": 2}, {"norm": None}, {"classes": ("background", "b")}, {"dropout": 0.1}]
)
def test_a_training_of_another_network_is_refused(
    change: dict[str, Any], checkpoint: Path, make_model: Make, make_sample: Make, quick: Make
) -> None:
    assert "other settings" in _refused(make_model(**change), make_sample(), quick(), checkpoint)


def test_a_file_that_lacks_a_part_is_refused(
    checkpoint: Path, make_model: Make, make_sample: Make, quick: Make
) -> None:
    tensors, document = load_tensors(checkpoint)
    for key in ("trainer", "seconds"):
        less = {name: value for name, value in document.items() if name != key}
        save_tensors(checkpoint, tensors, less)
        _refused(make_model(), make_sample(), quick(), checkpoint)
    for prefix in ("network.", "average.", "random.dropout"):
        fewer = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
        save_tensors(checkpoint, fewer, document)
        _refused(make_model(), make_sample(), quick(), checkpoint)


def test_a_full_disk_leaves_the_old_file_and_hands_over_the_weights(
    checkpoint: Path, make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_unet.errors import UNetError

    content = checkpoint.read_bytes()

    def full(*arguments: Any) -> None:
        raise UNetError("The disk is full.")

    monkeypatch.setattr("napari_unet.learn.checkpoint.save_tensors", full)
    model = make_model()
    before = {key: value.clone() for key, value in _state(model).items()}
    with pytest.raises(UNetError, match="disk is full"):
        _run(model, make_sample(), quick(), checkpoint)
    assert checkpoint.read_bytes() == content
    assert any(not torch.equal(before[key], value) for key, value in _state(model).items())
