r"""How uncertain a prediction is: by its own probabilities, or by how little predictions of the same image agree.

The entropy of probabilities is high wherever classes are mixed, also where that is right: on the blurred edge of an
object, for example. Predictions of the image as it lies and turned tell something else. What a network has understood
it sees however the image lies. Where its answers differ it guesses, and another stroke helps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_unet.errors import InputError

__all__ = ["MEASURES", "Disagreement", "Measure", "disagreement", "entropy"]

Measure = Literal["entropy", "disagreement"]
MEASURES: tuple[Measure, ...] = ("entropy", "disagreement")

FloatArray = npt.NDArray[np.float32]


def entropy(probabilities: npt.NDArray[Any]) -> FloatArray:
    """Return how uncertain each pixel is: 0 for one class alone, 1 for all classes alike.

    Parameters
    ----------
    probabilities : numpy.ndarray
        (class, \\*space), at least two classes.

    Returns
    -------
    numpy.ndarray
        (\\*space) float32: the entropy, divided by the highest one.

    Examples
    --------
    >>> (100 * entropy(np.array([[1.0, 0.5, 0.9], [0.0, 0.5, 0.1]]))).round().tolist()
    [0.0, 100.0, 47.0]
    """
    summed = (probabilities * np.log(1 / np.maximum(probabilities, 1e-12))).sum(axis=0)
    return np.asarray(summed / np.log(len(probabilities)), np.float32)


def disagreement(predictions: Iterable[npt.NDArray[Any]]) -> FloatArray:
    r"""Return how far predictions of the same pixels disagree: 0 where all are alike, 1 where each is sure of another.

    It is the mutual information between the class of a pixel and the prediction that is asked: the entropy of the mean
    probabilities less the mean of the entropies,

    .. math:: H\Big[\tfrac{1}{V}\sum_v p_v\Big] - \tfrac{1}{V} \sum_v H[p_v] ,

    divided by the logarithm of the number of classes. Where all predictions are torn between the same classes it is 0,
    while the entropy is high.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        Each (class, \*space), at least two classes; one is held in memory at a time.

    Returns
    -------
    numpy.ndarray
        (\*space) float32.

    Raises
    ------
    InputError
        If there are none.

    References
    ----------
    Houlsby et al. 2011, Bayesian active learning for classification and preference learning, arXiv 1112.5745,
    equation 2, with the predictions in the place of draws from the posterior; predictions of changed copies of an image
    as a measure of uncertainty: Wang et al. 2019, doi 10.1016/j.neucom.2019.01.103.

    Examples
    --------
    >>> torn, sure = np.array([[0.5], [0.5]]), np.array([[1.0], [0.0]])
    >>> disagreement([torn, torn]).tolist(), disagreement([sure, 1 - sure]).tolist()
    ([0.0], [1.0])
    """
    found = Disagreement()
    for probabilities in predictions:
        found.add(probabilities)
    return found.value


class Disagreement:
    """Sums up predictions of the same pixels one by one, see `disagreement`.

    Attributes
    ----------
    count : int
        How many predictions there are so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._total: npt.NDArray[Any] = np.zeros(())
        self._entropies: npt.NDArray[Any] = np.zeros(())

    def add(self, probabilities: npt.NDArray[Any]) -> None:
        """Take another prediction (class, \\*space)."""
        self._total = self._total + probabilities
        self._entropies = self._entropies + entropy(probabilities)
        self.count += 1

    @property
    def value(self) -> FloatArray:
        """The disagreement of all predictions so far, (\\*space)."""
        if self.count == 0:
            raise InputError("Expected at least one prediction, but got none.")
        return np.maximum(entropy(self._total / self.count) - self._entropies / self.count, 0).astype(np.float32)
