"""A prediction while it runs: what works on it, where its pieces go, and how far it is."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtCore import QTimer

from napari_unet.widgets.parts.worker import Work
from napari_unet.widgets.results.layers import ResultLayers
from napari_unet.widgets.results.predict_job import FindingObjects, PieceReady, PredictRequest
from napari_unet.widgets.results.store_job import StoreOpened, StoreRequest, predict_into_store
from napari_unet.widgets.results.stored import StoredLayer
from napari_unet.widgets.results.uncertainty_job import predict_with_uncertainty
from napari_unet.words import clock

__all__ = ["Prediction", "PredictionRun"]

Prediction = tuple[PredictRequest, ResultLayers] | tuple[StoreRequest, StoredLayer]

_THUMBNAILS_MS = 100


class PredictionRun:
    """Hands what the worker finds on to the layers.

    Parameters
    ----------
    prediction : Prediction
        What to predict, and the layers.
    whole : bool
        Whether the person asked for more than the view.

    Attributes
    ----------
    work : callable
        What the worker does.
    look : Look
        What the person looks at.
    whole : bool
        As given; False once it is stopped.
    share : float
        How much of it is done.
    """

    def __init__(self, prediction: Prediction, *, whole: bool) -> None:
        request = prediction[0]
        self._results: ResultLayers | StoredLayer = prediction[1]
        run: Any = predict_into_store if isinstance(request, StoreRequest) else predict_with_uncertainty
        self.work: Work = partial(run, request)
        self.look = request.look
        self.whole = whole
        self.share = 0.0
        self._doing = "predicting"
        self._seconds_left: float | None = None

    @property
    def lost(self) -> str:
        """Why nothing can be drawn any more: the layers are gone, or have become the person's; empty while it can."""
        return self._results.lost

    @property
    def words(self) -> str:
        """How far it is."""
        left = f", {clock(self._seconds_left)} left" if self._seconds_left else ""
        return f"{self._doing}, {100 * self.share:.0f} %{left}"

    def take(self, event: Any) -> None:
        """Take what the worker has done."""
        if isinstance(event, PieceReady):
            self._results.note(event)
            self._doing, self.share, self._seconds_left = event.doing, event.share, event.seconds_left
        elif isinstance(event, StoreOpened) and isinstance(self._results, StoredLayer):
            self._results.open(event)
        elif isinstance(event, FindingObjects):
            self._doing, self.share, self._seconds_left = "finding objects", event.share, None

    def draw(self) -> None:
        """Draw what has come, and follow the view."""
        self.look.update()
        self._results.draw()

    def finish(self) -> None:
        """Draw the rest and leave the layers alone."""
        results = self._results
        results.finish()
        QTimer.singleShot(_THUMBNAILS_MS, partial(results.update_thumbnails))  # a timer alone would let go of them
