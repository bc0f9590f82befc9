"""Training crops that come more often from where the person painted last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_unet.data.crops import AnnotatedFrame, CropSampler, Places

__all__ = ["RecentSampler"]

_FIRST_SHARE = 0.5  # of the crops, right after a change
_HALF_LIFE = 400  # crops after which the share is half as large


class RecentSampler(CropSampler):
    r"""Draws some crops around recent strokes only: half of them at first, and fewer and fewer.

    Parameters
    ----------
    frames, crop, reach, seed
        See `CropSampler`.
    recent : sequence of numpy.ndarray
        (\*part) bool for each frame: the pixels that were painted last.
    """

    def __init__(
        self, frames: Sequence[AnnotatedFrame], crop: tuple[int, ...], reach: tuple[int, ...], seed: int,
        recent: Sequence[npt.NDArray[np.bool_]],
    ) -> None:  # fmt: skip
        super().__init__(frames, crop, reach, seed)
        masks = [(frame.weights > 0) & mask for frame, mask in zip(frames, recent, strict=True)]
        self._recent = self._find_places(masks)
        self._drawn = 0

    @property
    def recent_share(self) -> float:
        """The share of the crops that now come from recent strokes."""
        return _FIRST_SHARE * 0.5 ** (self._drawn / _HALF_LIFE) if self._recent else 0.0

    def _choose_places(self) -> Places:
        recent = self.rng.random() < self.recent_share
        self._drawn += 1
        return self._recent if recent else self._places
