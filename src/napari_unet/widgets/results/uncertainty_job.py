"""Prediction with the uncertainty of all of it, as the dock runs it: what the tiles did not tell comes afterwards."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.results.predict_job import PieceReady, PredictRequest, predict
from napari_unet.widgets.results.uncertainty import UncertaintyTarget
from napari_unet.widgets.training.train_job import torch_threads

if TYPE_CHECKING:
    from napari_unet.models.uncertainty import UncertainPart

__all__ = ["UncertaintyReady", "predict_with_uncertainty"]

_CACHE_BYTES = 256 * 2**20  # of features, so that neighbouring tiles are computed once


@dataclass(frozen=True, eq=False)
class UncertaintyReady(PieceReady):
    """The uncertainty of a piece was written; its labels are as they were."""

    doing: str = "measuring the uncertainty"

    @classmethod
    def of(cls, part: UncertainPart, layout: ImageLayout, began: float) -> UncertaintyReady:
        """Tell of a part of what is measured since a moment of the monotonic clock."""
        left = (time.monotonic() - began) * (1 - part.share) / part.share
        return cls(part.box, layout.split_box(part.box)[0], part.share, left)


def predict_with_uncertainty(request: PredictRequest, should_stop: StopCheck) -> Generator[Any, None, None]:
    """Predict, then measure the uncertainty where that is wanted and not there yet; call it in a worker.

    Yields
    ------
    PieceReady, FindingObjects, PredictNote, PredictSummary or UncertaintyReady
        See `napari_unet.widgets.results.predict_job.predict`.

    Raises
    ------
    UNetError
        If the image does not fit the model; the message names the layer.
    """
    yield from predict(request, should_stop)
    if request.uncertainty is not None and not should_stop():
        with torch_threads(request.threads):
            yield from _measure(request, request.uncertainty, should_stop)


def _measure(request: PredictRequest, target: UncertaintyTarget, should_stop: StopCheck) -> Iterator[UncertaintyReady]:
    from napari_unet.models.adapt import Adapter
    from napari_unet.models.uncertainty import uncertainty_parts
    from napari_unet.predict.feature_cache import FeatureCache

    layout, began = request.source.layout, time.monotonic()

    def is_done(box: Box) -> bool:
        return target.record.has(*layout.split_box(box))

    for part in uncertainty_parts(
        Adapter(request.model, request.config.device, cache=FeatureCache(_CACHE_BYTES)),
        request.source.array,
        layout.axes,
        measure=target.measure,
        region=request.region,
        focus=request.look.focus,
        skip=is_done,
        should_stop=lambda: should_stop() or target.array.is_closed,
    ):
        target.write(part.box, part.uncertainty)
        yield UncertaintyReady.of(part, layout, began)
