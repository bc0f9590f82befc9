"""A training that meets losses that are no numbers, too little memory and other faults."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from napari_unet.errors import MemoryLimitError, UNetError
from napari_unet.learn import trainer as trainer_module
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.events import FitEvent, FitFinished, FitProgress, FitRecovered, FitScored
from napari_unet.learn.fit import fit
from napari_unet.models.model import Model

Make = Callable[..., Any]


def _weights(model: Model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.network.state_dict().items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _finite(model: Model) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in model.network.state_dict().values())


def _fit(model: Model, samples: Any, config: TrainConfig, **options: Any) -> list[FitEvent]:
    samples = samples if isinstance(samples, list) else [samples]
    return list(fit(model, samples, config, device="cpu", **options))


class _Fault:
    """Stands in for the loss and spoils some of its calls."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, torch.Tensor, torch.Tensor], Any]
    ) -> None:
        self.calls = 0
        self.true = trainer_module.segmentation_loss
        self.spoil = spoil
        monkeypatch.setattr(trainer_module, "segmentation_loss", self)

    def __call__(self, logits: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        self.calls += 1
        loss = self.true(logits, *arguments, **options)
        spoilt = self.spoil(self.calls, logits, loss)
        return loss if spoilt is None else spoilt


def _infinite_gradient(logits: torch.Tensor) -> torch.Tensor:
    return (logits * 0).sum().abs().sqrt()  # 0, with a slope that is none


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("at", [1, 7, 10])
def test_a_loss_that_is_no_number_is_recovered_from(
    at: int, value: float, make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Fault(monkeypatch, lambda call, logits, loss: loss * value if call == at else None)
    model = make_model()
    events = _fit(model, make_sample(), quick(max_steps=15))
    (recovered,) = (event for event in events if isinstance(event, FitRecovered))
    assert "went back to the last good weights" in recovered.message
    assert recovered.step == at
    assert isinstance(events[-1], FitFinished)
    assert events[-1].step == 15
    assert _finite(model)
    assert all(math.isfinite(event.loss) for event in events if isinstance(event, FitProgress) and event.step > at + 1)


@pytest.mark.parametrize("at", [4, 5, 10])
def test_a_gradient_that_is_no_number_is_recovered_from_though_the_loss_is_one(
    at: int, make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a score, too: spoilt weights must never be remembered as good ones."""
    _Fault(monkeypatch, lambda call, logits, loss: loss + _infinite_gradient(logits) if call == at else None)
    for holdout in (0.2, 0.0):
        model = make_model()
        events = _fit(model, make_sample(), quick(max_steps=15, holdout=holdout))
        assert sum(isinstance(event, FitRecovered) for event in events) <= 1
        assert _finite(model)


def test_recovery_goes_back_to_the_last_good_weights_and_is_slower_then(
    make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Fault(monkeypatch, lambda call, logits, loss: loss * float("nan") if call == 12 else None)
    made = []
    original = trainer_module.Trainer.__init__

    def remember(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        made.append(self)

    monkeypatch.setattr(trainer_module.Trainer, "__init__", remember)
    good: dict[str, torch.Tensor] = {}
    rate = 0.0
    for event in fit(make_model(), [make_sample()], quick(max_steps=None), device="cpu"):
        (trainer,) = made
        if isinstance(event, FitScored) and event.step == 10:
            good = {key: value.clone() for key, value in trainer.network.state_dict().items()}
            rate = trainer.optimizer.param_groups[0]["lr"]
        if isinstance(event, FitRecovered):
            assert _same(dict(trainer.network.state_dict()), good)
        if event.step == 14:
            assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(rate / 2)
            break


def test_a_loss_that_is_never_a_number_is_given_up_in_words(
    make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Fault(monkeypatch, lambda call, logits, loss: loss * float("nan"))
    model = make_model()
    before = _weights(model)
    with pytest.raises(UNetError, match=r"again and again.*learning rate"):
        _fit(model, make_sample(), quick(max_steps=None, validate_every=100))
    assert _same(_weights(model), before)


def test_given_up_after_good_steps_the_model_keeps_the_best(
    make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Fault(monkeypatch, lambda call, logits, loss: loss * float("nan") if call > 8 else None)
    model = make_model()
    before = _weights(model)
    with pytest.raises(UNetError):
        _fit(model, make_sample(), quick(max_steps=None))
    assert _finite(model)
    assert not _same(_weights(model), before)


def _too_much(limit: int) -> Callable[[int, torch.Tensor, torch.Tensor], None]:
    def spoil(call: int, logits: torch.Tensor, loss: torch.Tensor) -> None:
        if logits[:, 0].numel() > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    return spoil


def test_too_little_memory_halves_the_batch_and_then_the_crop(
    make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Fault(monkeypatch, _too_much(10 * 10))
    model = make_model(depth=2)
    events = _fit(model, make_sample(), quick(crop=32, batch_size=6))
    messages = [event.message for event in events if isinstance(event, FitRecovered)]
    expected = ["3 crops a step", "1 crop a step", "crops of 16 x 16 pixels", "crops of 8 x 8 pixels"]
    assert messages == [f"The memory was not enough; training goes on with {words}." for words in expected]
    assert isinstance(events[-1], FitFinished)
    assert events[-1].step == 10
    assert events[-1].best is not None
    assert _finite(model)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_too_little_memory_for_anything_is_said(
    norm: str, padding: str, make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = _Fault(monkeypatch, _too_much(0))
    model = make_model(depth=2, norm=norm, padding=padding)
    before = _weights(model)
    with pytest.raises(MemoryLimitError, match=r"does not fit into the memory of CPU.*smaller width or depth"):
        _fit(model, make_sample(), quick(crop=32))
    assert 3 < fault.calls < 12
    assert _same(_weights(model), before)


def test_too_little_memory_later_on_loses_nothing(
    make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(call: int, logits: torch.Tensor, loss: torch.Tensor) -> None:
        if call == 8:
            raise MemoryError

    _Fault(monkeypatch, spoil)
    events = _fit(make_model(), make_sample(), quick(max_steps=15))
    assert [event.step for event in events if isinstance(event, FitRecovered)] == [7]
    assert [event.step for event in events if isinstance(event, FitScored)] == [5, 10, 15]
    steps = [event.step for event in events]
    assert steps == sorted(steps)


def test_what_was_too_large_is_let_go_before_the_next_try(
    make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error's frames hold the tensors that filled the memory; they must be gone when the training goes on."""
    held: list[weakref.ref[torch.Tensor]] = []

    def spoil(call: int, logits: torch.Tensor, loss: torch.Tensor) -> None:
        if call == 3:
            held.append(weakref.ref(logits))
            raise torch.OutOfMemoryError("CUDA out of memory.")

    _Fault(monkeypatch, spoil)
    for event in fit(make_model(), [make_sample()], quick(), device="cpu"):
        if isinstance(event, FitRecovered):
            assert held[0]() is None


def test_other_errors_are_not_hidden(
    make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(call: int, logits: torch.Tensor, loss: torch.Tensor) -> None:
        if call == 8:
            raise RuntimeError("something else")

    _Fault(monkeypatch, spoil)
    model = make_model()
    before = _weights(model)
    with pytest.raises(RuntimeError, match="something else"):
        _fit(model, make_sample(), quick())
    assert not _same(_weights(model), before)  # the best of the steps before
