"""The search for the next place to paint as the dock runs it: a generator for a worker."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet.widgets.parts.torch_loading import load_torch
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.results.predict_job import PredictNote
from napari_unet.widgets.training.train_job import PaintedImage, copy_strokes, torch_threads

if TYPE_CHECKING:
    from napari_unet.models.adapt import Adapter
    from napari_unet.models.model import Model
    from napari_unet.predict.tile_store import TileStore
    from napari_unet.predict.uncertainty import Measure

__all__ = ["SpotFinder", "SpotRequest"]

_NO_PROBABILITIES = (
    "The place was chosen near the view, since the result on the disk has neither probabilities nor uncertainty: tick "
    "'also show probabilities' and press Predict to have all of the image looked through."
)


@dataclass(frozen=True, eq=False)
class SpotRequest:
    """All that a search needs to know, taken from the window before it starts.

    Attributes
    ----------
    images : tuple of PaintedImage
        The image that is painted on, and others that are painted.
    task : {"objects", "classes"}
        What the strokes mean.
    classes : tuple of str
        Names of the classes.
    model : Model or None
        The model that was trained; None: the starting weights, adapted to the strokes.
    focus : tuple of float
        The pixel in the middle of the view.
    visited : tuple of tuple of int
        Places that were shown before.
    device : str
        ``"auto"`` or a name.
    threads : int
        Cores for PyTorch.
    stored : Path or None
        The result of the first image, where that is on the disk.
    measure : {"entropy", "disagreement"}
        What counts as uncertain.
    """

    images: tuple[PaintedImage, ...]
    task: str
    classes: tuple[str, ...]
    model: Model | None
    focus: tuple[float, ...]
    visited: tuple[tuple[int, ...], ...]
    device: str = "auto"
    threads: int = 1
    stored: Path | None = None
    measure: Measure = "entropy"


class SpotFinder:
    """Searches, and remembers the features of the images from one search to the next.

    Attributes
    ----------
    adapter : Adapter or None
        The model that was used last.
    """

    def __init__(self) -> None:
        self.adapter: Adapter | None = None
        self._made_for: Any = None

    def find(self, request: SpotRequest, should_stop: StopCheck) -> Generator[Any, None, None]:
        """Search; call it in a worker, and no two at a time.

        Yields
        ------
        UncertainPart, Spot or PredictNote
            See `napari_unet.models.next_spot.find_spot`; the last where a stored result is of no help.

        Raises
        ------
        UNetError
            If nothing or one class only is painted, or the image does not fit the model.
        """
        first, *others = (copy_strokes(image, request.task) for image in request.images)
        samples = [first, *(sample for sample in others if sample.annotation.frames)]
        load_torch()
        from napari_unet.models.next_spot import find_spot

        with torch_threads(request.threads):
            adapter = self._adapter_for(request)
            yield None
            stored = None if request.stored is None else _open_stored(request.stored)
            if request.stored is not None and stored is None:
                yield PredictNote(_NO_PROBABILITIES)
            if request.model is None:
                adapter.adapt(samples, task=request.task)  # type: ignore[arg-type]
            yield from find_spot(
                adapter,
                samples,
                task=request.task,  # type: ignore[arg-type]
                focus=request.focus,
                visited=request.visited,
                measure=request.measure,
                stored=stored,
                should_stop=should_stop,
            )

    def _adapter_for(self, request: SpotRequest) -> Adapter:
        from napari_unet.models.adapt import Adapter
        from napari_unet.models.model import Model

        layout = request.images[0].source.layout
        wanted = (id(request.model), layout.channels, layout.ndim, request.classes, request.device)
        if self.adapter is None or wanted != self._made_for:
            model = request.model or Model.pretrained(layout.channels, layout.ndim, request.classes)
            self.adapter, self._made_for = Adapter(model, request.device), wanted
        return self.adapter


def _open_stored(path: Path) -> TileStore | None:
    """Open a stored result; None if it does not say where it is uncertain."""
    from napari_unet.predict.tile_store import TileStore

    store = TileStore.open(path)
    return store if store.probabilities or "entropy" in store.uncertainty else None
