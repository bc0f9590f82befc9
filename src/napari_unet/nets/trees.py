"""Oblivious trees that ask for grey values: what they add to the logits of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Trees", "tree_logits"]


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees in each of which all nodes of a level ask the same question, so that a leaf is a number of a few bits.

    Attributes
    ----------
    questions : torch.Tensor
        (T, L) int64, which feature each level of a tree asks for.
    thresholds : torch.Tensor
        (T, L) float32; bit number ``level`` of the leaf says whether the feature is larger.
    values : torch.Tensor
        (T, 2**L, K) float32, what a leaf adds to the logits.
    """

    questions: torch.Tensor
    thresholds: torch.Tensor
    values: torch.Tensor

    def copy(self) -> Trees:
        """Return the same in memory of its own."""
        return Trees(self.questions.clone(), self.thresholds.clone(), self.values.clone())


def tree_logits(trees: Trees, features: torch.Tensor) -> torch.Tensor:
    """Sum up what the trees say.

    Parameters
    ----------
    trees : Trees
        On any device.
    features : torch.Tensor
        (F, \\*space).

    Returns
    -------
    torch.Tensor
        (K, \\*space) float32 on the device of the features.

    Examples
    --------
    >>> larger_than_2 = Trees(torch.tensor([[0]]), torch.tensor([[2.0]]), torch.tensor([[[1.0, 0.0], [0.0, 5.0]]]))
    >>> tree_logits(larger_than_2, torch.tensor([[1.0, 3.0]])).tolist()
    [[1.0, 0.0], [0.0, 5.0]]
    """
    columns = features.flatten(1).float()
    if columns.device.type == "cpu":  # NumPy waits for no other thread, as PyTorch does in each operation
        found = torch.from_numpy(_sum_up_on_cpu(trees, columns.numpy()))
    else:
        found = _sum_up(trees, columns)
    return found.reshape(-1, *features.shape[1:])


def _sum_up(trees: Trees, columns: torch.Tensor) -> torch.Tensor:
    """Return (K, n) of features (F, n)."""
    device = columns.device
    found = columns.new_zeros((trees.values.shape[2], columns.shape[1]))
    bits = 2 ** torch.arange(trees.questions.shape[1], device=device)
    forest = (part.to(device) for part in (trees.questions, trees.thresholds, trees.values))
    for questions, thresholds, values in zip(*forest, strict=True):
        above = columns[questions] > thresholds[:, None]
        found += values[(above * bits[:, None]).sum(dim=0)].T
    return found


def _sum_up_on_cpu(trees: Trees, columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the same."""
    found = np.zeros((trees.values.shape[2], columns.shape[1]), np.float32)
    forest = (part.detach().cpu().numpy() for part in (trees.questions, trees.thresholds, trees.values))
    for questions, thresholds, values in zip(*forest, strict=True):
        leaf = np.zeros(columns.shape[1], np.intp)
        for level, (question, threshold) in enumerate(zip(questions, thresholds, strict=True)):
            leaf |= (columns[question] > threshold).astype(np.intp) << level
        for kind in range(len(found)):
            found[kind] += values[:, kind].take(leaf)
    return found
