"""Scoring a layer against another one, without the window: what is asked for, and what the work yields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels

from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.assess.object_errors import error_labels
from napari_unet.errors import InputError, MemoryLimitError
from napari_unet.widgets.evaluate import score_job
from napari_unet.widgets.evaluate.score_job import Scored, ScoreProgress, make_request, score


def frames(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a stack of results and of references, with a missed and a false object."""
    reference, predicted = np.zeros((count, 12, 16), np.uint16), np.zeros((count, 12, 16), np.uint16)
    reference[:, 2:6, 2:6], predicted[:, 2:6, 9:13] = 1, 1
    return predicted, reference


def test_work_yields_progress_and_the_end() -> None:
    predicted, reference = frames(3)
    layers = Labels(predicted, name="a"), Labels(reference, name="b")
    request = make_request(*layers, EvaluationConfig(), with_errors=True)
    events = list(score(request, lambda: False))
    assert [event.done for event in events if isinstance(event, ScoreProgress)] == [1, 2, 3]
    assert isinstance(events[-1], Scored)
    assert events[-1].complete
    assert [row.name for row in events[-1].table.rows] == ["z=0", "z=1", "z=2"]
    assert np.array_equal(events[-1].errors, error_labels(predicted, reference))


def test_a_reference_without_background_is_noted() -> None:
    predicted, reference = frames(2)
    layers = Labels(predicted + 1, name="a"), Labels(reference + 1, name="b")
    notes = []
    for zero in ("background", "unlabelled"):
        config = EvaluationConfig(task="classes", reference_zero=zero)
        events = score(make_request(*layers, config, with_errors=False), lambda: False)
        notes += [(zero, event[:14]) for event in events if isinstance(event, str)]
    assert notes == [("background", "'b' holds no 0")]


def test_requests_that_can_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, deep = Labels(np.zeros((4, 5), int), name="flat"), Labels(np.zeros((1,) * 5, int), name="deep")
    config = EvaluationConfig()
    with pytest.raises(InputError, match="no labels layer"):
        make_request(flat, None, config, with_errors=False)
    with pytest.raises(InputError, match="'deep' has 5 axes"):
        make_request(deep, Labels(np.zeros((1,) * 5, int)), config, with_errors=False)

    def too_large(*arguments: Any, **options: Any) -> Iterator[Any]:
        raise MemoryError
        yield

    monkeypatch.setattr(score_job, "score_frames", too_large)
    request = make_request(flat, Labels(np.zeros((4, 5), int)), config, with_errors=False)
    with pytest.raises(MemoryLimitError, match="'flat'"):
        list(score(request, lambda: False))
