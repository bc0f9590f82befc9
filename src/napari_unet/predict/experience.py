"""What one more stroke would make of a classifier that is solved from strokes: it is solved anew, for each place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Experience"]

_STROKE = 50.0  # pixels of a stroke that is not painted yet
_LEAST = 0.05  # share of its class that it has at least
_UNLIKELY = 0.05  # a class that a place has more seldom is not tried there
_AT_ONCE = 4_000_000  # probabilities in memory

Array = npt.NDArray[Any]


class Experience:
    r"""What the strokes tell of a place, and what they would tell with one more.

    The regression of `napari_unet.learn.closed_form.solve_head` needs of each class only the mean and the second
    moments of its features, and these are easily brought up to date when pixels are added to one class.

    Parameters
    ----------
    features : numpy.ndarray
        (n, D) features of the painted pixels.
    classes : numpy.ndarray
        (n,) index of the class.
    weights : numpy.ndarray
        (n,) how many painted pixels each stands for.
    ridge, scale, offset : float
        See `napari_unet.learn.closed_form.ClosedForm`.
    """

    def __init__(
        self, features: Array, classes: Array, weights: Array, *, ridge: float, scale: float, offset: float
    ) -> None:
        self.classes = np.unique(classes)
        self._ridge, self._scale = ridge, scale
        self._offset = np.where(self.classes == 0, offset, 0.0)
        known = np.asarray(features, np.float64)
        self._origin = known.mean(axis=0)
        shares = (classes == self.classes[:, None]) * np.asarray(weights, np.float64)
        self._counts = shares.sum(axis=1)
        shares /= self._counts[:, None]
        away = known - self._origin
        self._means = shares @ away
        self._seconds = np.stack([(away * share[:, None]).T @ away for share in shares])

    def clearness(self, places: Array, probabilities: Array, others: Array) -> npt.NDArray[np.float64]:
        r"""Say how clear the classes of other places are expected to be after a stroke in each place.

        The clearness of a class is the probability that the classifier is expected to give to it where it is,
        :math:`\sum_x p_x^2 / \sum_x p_x`; all classes count the same, however large they are. Which class a stroke will
        have is not known: the mean over all of them is taken, by their probabilities at the place.

        Parameters
        ----------
        places : numpy.ndarray
            (n, D) features of places where a stroke could be.
        probabilities : numpy.ndarray
            (n, class) of these places.
        others : numpy.ndarray
            (m, D) features of the places that are looked at then.

        Returns
        -------
        numpy.ndarray
            (n,) 0 to 1.

        References
        ----------
        Roy and McCallum 2001, Toward optimal active learning through sampling estimation of error reduction, ICML,
        with this clearness in the place of one minus the error.
        """
        chosen, others = places - self._origin, others - self._origin
        shares = np.asarray(probabilities, np.float64)[:, self.classes]
        shares = np.where(shares < min(_UNLIKELY, 1 / shares.shape[1]), 0.0, shares)
        shares = np.where(shares.any(axis=1, keepdims=True), shares, 1.0)
        shares /= shares.sum(axis=1, keepdims=True)
        step = max(1, _AT_ONCE // (len(others) * len(self.classes)))
        found = np.zeros(len(chosen))
        for number in range(len(self.classes)):
            likely = np.flatnonzero(shares[:, number])
            for part in np.split(likely, range(step, len(likely), step)):
                found[part] += shares[part, number] * self._clearness_after(number, chosen[part], others)
        return found

    def unlikeness(self, places: Array) -> npt.NDArray[np.float64]:
        """Say how unlike what is painted places (n, D) are: the variance that the regression has there, (n,)."""
        away, solved = self._solved(places)
        return np.asarray((solved * away).sum(axis=1))

    def gains(self, places: Array, doubt: Array) -> npt.NDArray[np.float64]:
        r"""Say how much variance a stroke in each place would take away from all places, weighted by their doubt.

        With `A` the covariance of the regression's weights and `f` features less their mean, the variance at `x` is
        ``f_x A f_x``; painting at `c` lowers it by ``(f_x A f_c)**2 / (1 + f_c A f_c)``. Summed over all places this
        is ``f_c A M A f_c / (1 + f_c A f_c)`` with ``M = sum_x doubt_x f_x f_x^T``.

        Parameters
        ----------
        places : numpy.ndarray
            (n, D) features.
        doubt : numpy.ndarray
            (n,) how much it matters what is there.

        Returns
        -------
        numpy.ndarray
            (n,) at least 0.

        References
        ----------
        Cohn, Ghahramani and Jordan 1996, Active learning with statistical models, arXiv cs/9603104; MacKay 1992,
        doi 10.1162/neco.1992.4.4.590, section 5 (mean marginal information gain).
        """
        away, solved = self._solved(places)
        wanted = (away * doubt[:, None]).T @ away
        return np.asarray(((solved @ wanted) * solved).sum(axis=1) / (1 + (solved * away).sum(axis=1)))

    def _solved(self, places: Array) -> tuple[Array, Array]:
        """Return the features less their mean, and those times the covariance of the regression's weights."""
        centre = self._means.mean(axis=0)
        second = self._seconds.mean(axis=0) - np.outer(centre, centre) + self._ridge * np.eye(len(centre))
        away = places - self._origin - centre
        return away, np.linalg.solve(second, away.T).T

    def _clearness_after(self, number: int, chosen: Array, others: Array) -> Array:
        weight, bias = self.solve(number, chosen)
        p = weight.astype(np.float32).swapaxes(1, 2) @ others.astype(np.float32).T  # (n, class, m)
        p += bias[:, :, None].astype(np.float32)
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        clear: Array = ((p**2).sum(axis=2) / np.maximum(p.sum(axis=2), 1e-12)).mean(axis=1)
        return clear

    def solve(self, number: int, chosen: Array) -> tuple[Array, Array]:
        """Return the last layer after a stroke of a class: weights (n, D, class) and biases (n, class).

        `number` is that of the class among `classes`; `chosen` (n, D) are features less the mean of the painted ones.
        """
        count = len(self.classes)
        share = max(_LEAST, _STROKE / (_STROKE + float(self._counts[number])))
        means = np.repeat(self._means[None], len(chosen), axis=0)
        means[:, number] += share * (chosen - means[:, number])
        products = chosen[:, :, None] * chosen[:, None, :]
        second = (self._seconds.sum(axis=0) + share * (products - self._seconds[number])) / count
        centre = means.mean(axis=1)
        penalised = second - centre[:, :, None] * centre[:, None, :] + self._ridge * np.eye(chosen.shape[1])
        solved = np.linalg.solve(penalised, 2 / count * (means - centre[:, None]).swapaxes(1, 2))
        bias = 2 / count - 1 - np.einsum("nd,ndk->nk", centre, solved)
        return self._scale * solved, self._scale * bias + self._offset
