"""Measures of uncertainty, against SciPy and a plain sum over the pixels; the positions of a frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from napari_unet.errors import InputError
from napari_unet.predict.turns import Turn, list_positions
from napari_unet.predict.uncertainty import disagreement, entropy


def test_entropy_is_that_of_scipy(rng: np.random.Generator) -> None:
    probabilities = rng.dirichlet([1, 1, 1], (6, 7)).transpose(2, 0, 1).astype(np.float32)
    np.testing.assert_allclose(entropy(probabilities), stats.entropy(probabilities, base=3), rtol=1e-5)


@pytest.mark.parametrize(("classes", "shape"), [(2, (5, 7)), (3, (3, 4, 5))])
def test_disagreement_is_the_mutual_information_of_class_and_prediction(
    classes: int, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    predictions = np.moveaxis(rng.dirichlet([0.4] * classes, (4, *shape)), -1, 1)
    found = disagreement(iter(predictions))
    for place in np.ndindex(shape):
        joint = predictions[(slice(None), slice(None), *place)] / 4  # of prediction and class
        alone = np.outer(joint.sum(axis=1), joint.sum(axis=0))
        information = float((joint * np.log(joint / alone)).sum()) / np.log(classes)
        assert found[place] == pytest.approx(information, abs=1e-6)
    assert found.min() > 0
    assert found.max() <= 1


def test_disagreement_is_highest_where_each_prediction_is_sure_of_another_class() -> None:
    sure = np.eye(3)[:, :, None]  # three predictions of one pixel
    assert disagreement(sure) == pytest.approx(1)
    torn = np.full((3, 1), 1 / 3, np.float32)
    assert disagreement([torn] * 8) == pytest.approx(0, abs=1e-6)
    assert entropy(torn) == pytest.approx(1)
    with pytest.raises(InputError, match="at least one"):
        disagreement([])


@pytest.mark.parametrize("shape", [(2, 4, 7), (1, 3, 4, 5)])
def test_eight_positions_are_all_different_and_can_be_undone(shape: tuple[int, ...]) -> None:
    block = np.arange(np.prod(shape)).reshape(shape)
    seen = set()
    for turn in list_positions():
        turned = turn.apply(block)
        seen.add((turned.shape, turned.tobytes()))
        np.testing.assert_array_equal(turn.undo(torch.from_numpy(turned)).numpy(), block)
    assert len(seen) == 8
    np.testing.assert_array_equal(list_positions()[0].apply(block), block)


def test_a_volume_is_only_rotated_and_never_becomes_its_mirror_image() -> None:
    corners = np.zeros((1, 2, 2, 2))
    corners[0, 0, 0, 0], corners[0, 1, 0, 0], corners[0, 0, 1, 0], corners[0, 0, 0, 1] = 1, 2, 3, 4

    def handedness(block: np.ndarray) -> float:
        corner, *arms = (np.argwhere(block[0] == value)[0] for value in (1, 2, 3, 4))
        return float(np.linalg.det(np.stack([arm - corner for arm in arms])))

    assert {handedness(turn.apply(corners)) for turn in list_positions()} == {1.0}
    flat = Turn(0, over=True).apply(np.array([[[1, 2], [3, 4]]]))
    np.testing.assert_array_equal(flat, [[[2, 1], [4, 3]]])
