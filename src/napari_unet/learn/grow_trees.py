"""Trees grown from strokes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from napari_unet.learn.closed_form import ABSENT
from napari_unet.nets.trees import Trees

__all__ = ["grow_trees"]

_TREES = 16
_DEPTH = 6
_BINS = 32  # between whose borders, quantiles of a feature, the threshold is chosen
_MOST_PIXELS = 2_000  # of a class that a tree is grown from
_PRIOR = 1.0  # pixels of each class that every leaf is taken to hold beside those that it does

Numbers = npt.NDArray[np.int64]


def grow_trees(
    features: npt.NDArray[np.float32],
    classes: Numbers,
    count: int,
    *,
    weights: npt.NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Trees:
    """Grow a forest of oblivious trees, each from pixels drawn anew, as many of each class.

    At each level a tree tries some of the features, and takes the question that leaves the classes in all its leaves
    as pure as possible (Gini). The logits of a leaf are the logarithms of the shares that the classes have in it; those
    of the trees are averaged.

    Parameters
    ----------
    features : numpy.ndarray
        (n, F) float32 of the painted pixels. Thresholds are numbers that float16 has, too.
    classes : numpy.ndarray
        (n,) int64, 0 to ``count - 1``.
    count : int
        Number of classes, K; those without pixels are never chosen.
    weights : numpy.ndarray or None
        (n,) how often a pixel is drawn, beside the others of its class; None: all alike.
    seed : int
        Of what is drawn.

    References
    ----------
    Forests: Breiman 2001, doi 10.1023/A:1010933404324; oblivious trees: Kohavi 1994, doi 10.1007/3-540-57868-4_57.

    Examples
    --------
    >>> from napari_unet.nets.trees import tree_logits
    >>> features = np.arange(100, dtype=np.float32)[:, None]
    >>> grown = grow_trees(features, (np.arange(100) >= 50).astype(np.int64), 2)
    >>> tree_logits(grown, torch.tensor([[10.0, 40.0, 60.0, 90.0]])).argmax(0).tolist()
    [0, 0, 1, 1]
    """
    rng = np.random.default_rng(seed)
    present = np.unique(classes)
    members = [np.flatnonzero(classes == kind) for kind in present]
    chances = [None if weights is None else weights[rows] / weights[rows].sum(dtype=np.float64) for rows in members]
    size = min(_MOST_PIXELS, max(map(len, members)))
    kinds = np.repeat(np.arange(len(present)), size)
    borders = np.quantile(features, np.linspace(0, 1, _BINS + 1)[1:-1], axis=0).astype(np.float16).astype(np.float32)
    bins = np.stack([np.searchsorted(borders[:, i], column) for i, column in enumerate(features.T)])
    tried = max(1, round(features.shape[1] ** 0.5))
    questions, thresholds = np.zeros((_TREES, _DEPTH), np.int64), np.zeros((_TREES, _DEPTH), np.float32)
    values = np.full((_TREES, 2**_DEPTH, count), ABSENT / _TREES, np.float32)
    for tree in range(_TREES):
        drawn = bins[:, np.concatenate([rng.choice(rows, size, p=p) for rows, p in zip(members, chances, strict=True)])]
        leaf = np.zeros(len(kinds), np.int64)
        for level in range(_DEPTH):
            asked = rng.choice(len(bins), tried, replace=False)
            best, border = _best_question(drawn[asked], leaf * len(present) + kinds, len(present))
            questions[tree, level], thresholds[tree, level] = asked[best], borders[border, asked[best]]
            leaf |= (drawn[asked[best]] > border).astype(np.int64) << level
        held = np.bincount(leaf * len(present) + kinds, minlength=len(present) << _DEPTH).reshape(-1, len(present))
        shares = (held + _PRIOR) / (held + _PRIOR).sum(axis=1, keepdims=True)
        values[tree][:, present] = np.log(shares) / _TREES
    return Trees(torch.from_numpy(questions), torch.from_numpy(thresholds), torch.from_numpy(values))


def _best_question(bins: Numbers, groups: Numbers, classes: int) -> tuple[int, int]:
    """Return which of some features, whose bins (F, n) are given, and which border of them part pixels best.

    Parameters
    ----------
    bins : numpy.ndarray
        (F, n).
    groups : numpy.ndarray
        (n,) ``leaf * classes + class`` of each pixel.
    classes : int
        Number of classes.
    """
    purity = np.empty((len(bins), _BINS - 1))
    count = (int(groups.max()) // classes + 1) * classes
    for number, own in enumerate(bins):
        held = np.bincount(groups * _BINS + own, minlength=count * _BINS).reshape(-1, classes, _BINS).astype(np.float64)
        below = held.cumsum(axis=2)
        above = below[..., -1:] - below
        purity[number] = sum(
            ((side**2).sum(axis=1) / side.sum(axis=1).clip(min=1)).sum(axis=0)[:-1] for side in (below, above)
        )
    feature, border = np.unravel_index(int(purity.argmax()), purity.shape)
    return int(feature), int(border)
