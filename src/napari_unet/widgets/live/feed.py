"""Tells the learner what is painted: every stroke, erasure and undo on the strokes layers of all images."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels
from qtpy.QtCore import QTimer

from napari_unet.data.axes import Box
from napari_unet.data.sample import Sample
from napari_unet.widgets.annotate.annotation import interpret
from napari_unet.widgets.parts.layer_tools import shape_of
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.sessions.layers import painted_box

if TYPE_CHECKING:
    from napari_unet.live.learner import LiveLearner
    from napari_unet.widgets.segment.dock import SegmentDock

__all__ = ["StrokesFeed", "StrokesView", "key_of"]

_SOON_MS = 150  # after a change that does not say where: several are looked at together
_QUICK = 64_000_000  # labels that are compared in a fraction of a second, by the worker


def key_of(image: Image) -> Hashable:
    """Return what the learner knows an image by."""
    return str(image.unique_id)


class StrokesView:
    """The labels of a layer as the learner reads them, part by part, while they are painted on.

    Parameters
    ----------
    data : array-like
        The layer's data.
    meaning : {"strokes", "complete", "ground truth"}
        See `napari_unet.widgets.annotate.annotation.interpret`.

    Examples
    --------
    >>> StrokesView(np.array([[0, 1], [1, 0]]), "ground truth")[:1, :].tolist()
    [[1, 2]]
    """

    def __init__(self, data: Any, meaning: str) -> None:
        self.data, self.meaning = data, meaning
        self.shape: tuple[int, ...] = tuple(data.shape)
        self.dtype, self.ndim = np.dtype(data.dtype), len(data.shape)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        return interpret(np.asarray(self.data[index]), self.meaning, "classes")


@dataclass(eq=False)
class _Followed:
    image: Image
    strokes: Labels
    seen: tuple[Any, ...]  # what the sample was made of
    sample: Sample


class StrokesFeed:
    """Follows strokes layers and hands their changes on; what takes long is done by the worker.

    Parameters
    ----------
    dock : SegmentDock
        Has the layers.
    learner : LiveLearner
        Is told.
    on_change : callable
        Called with the box that changed, or None where that is not known.
    """

    def __init__(self, dock: SegmentDock, learner: LiveLearner, on_change: Callable[[Box | None], None]) -> None:
        self.dock, self.learner, self.on_change = dock, learner, on_change
        self._followed: dict[Hashable, _Followed] = {}
        self._suspects: set[Hashable] = set()
        self._names: tuple[str, ...] = ()
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._look_at_suspects)

    def update(self, image: Image, source: ImageSource) -> None:
        """Find out which images are painted on, and tell of those that are new, other or gone."""
        names = self.dock.class_names()
        if names != self._names:
            if self._names:
                self._look_at_suspects()  # what was undone before counts before
                self.on_change(None)
            self.learner.set_classes(names)  # also at first: they may have changed while the learner was made
            self._names = names
        wanted = self._find(image, source)
        for key in set(self._followed) - set(wanted):
            self._let_go(key)
            self.on_change(None)
        for key, (layer, strokes, found) in wanted.items():
            meaning = self.dock.notes.meaning_of(strokes)
            seen = (strokes, strokes.data, layer.data, meaning, found.axes, found.spacing)
            known = self._followed.get(key)
            if known is not None and all(
                a is b or (i > 2 and a == b) for i, (a, b) in enumerate(zip(known.seen, seen, strict=True))
            ):
                continue
            kept = known.sample.image if known is not None and known.seen[2] is layer.data else found.array
            self._follow(key, layer, strokes, seen, _sample(found, kept, StrokesView(strokes.data, meaning)))

    def close(self) -> None:
        """Follow nothing any more."""
        self._soon.stop()
        for key in list(self._followed):
            self._disconnect(self._followed.pop(key))

    def _find(self, image: Image, source: ImageSource) -> dict[Hashable, tuple[Image, Labels, ImageSource]]:
        dock, layers = self.dock, self.dock.viewer.layers
        others = [layer for layer in layers if isinstance(layer, Image) and layer is not image]
        found: dict[Hashable, tuple[Image, Labels, ImageSource]] = {}
        for layer in [image, *(others if dock.panel.window_form.values()["all_images"] else ())]:
            pair = (source, dock.strokes) if layer is image else dock.notes.find_other(layer, source)
            own, strokes = pair or (source, None)
            if strokes is None or strokes not in layers or layer not in layers or strokes.multiscale:
                continue
            if shape_of(strokes) == own.layout.label_shape:
                found[key_of(layer)] = layer, strokes, own
        return found

    def _follow(self, key: Hashable, image: Image, strokes: Labels, seen: tuple[Any, ...], sample: Sample) -> None:
        known = self._followed.get(key)
        if known is None or known.strokes is not strokes:
            if known is not None:
                self._disconnect(known)
            strokes.events.paint.connect(self._on_paint)
            strokes.events.set_data.connect(self._on_set_data)
            strokes.events.data.connect(self._on_data)
        self._followed[key] = _Followed(image, strokes, seen, sample)
        self.learner.set_annotation(key, sample)

    def _let_go(self, key: Hashable) -> None:
        self._disconnect(self._followed.pop(key))
        self.learner.remove_image(key)

    def _disconnect(self, known: _Followed) -> None:
        known.strokes.events.paint.disconnect(self._on_paint)
        known.strokes.events.set_data.disconnect(self._on_set_data)
        known.strokes.events.data.disconnect(self._on_data)

    def _keys_of(self, strokes: Labels) -> list[Hashable]:
        return [key for key, known in self._followed.items() if known.strokes is strokes]

    def _on_paint(self, event: Any) -> None:
        """Hand a stroke on in the loop's next turn: napari tells of a filled area before it writes it."""
        QTimer.singleShot(0, partial(self._hand_on, event.source, painted_box(event, event.source.ndim)))

    def _hand_on(self, strokes: Labels, box: Box | None) -> None:
        keys = self._keys_of(strokes)
        for key in keys:
            self.learner.set_annotation(key, self._followed[key].sample, box)
        if keys:
            self.on_change(box)

    def _on_set_data(self, event: Any) -> None:
        """Look at it soon: an undo tells only that something was drawn anew, as a move through a stack does."""
        self._suspects.update(self._keys_of(event.source))
        if not self._soon.isActive():
            self._soon.start(_SOON_MS)

    def _on_data(self, event: Any) -> None:
        for key in self._keys_of(event.source):
            known = self._followed[key]
            known.sample.annotation.data = event.source.data
            known.seen = (known.seen[0], event.source.data, *known.seen[2:])
            self.learner.set_annotation(key, known.sample)
        self.on_change(None)

    def _look_at_suspects(self) -> None:
        suspects, self._suspects = self._suspects, set()
        for key in suspects & set(self._followed):
            known = self._followed[key]
            large = known.strokes.data.size > _QUICK and known.strokes.ndim > 2
            self.learner.set_annotation(key, known.sample, self._frame_of(known.strokes) if large else None)

    def _frame_of(self, strokes: Labels) -> Box:
        """Return the plane that is shown, of a layer too large to be compared as a whole."""
        viewer = self.dock.viewer
        step = viewer.dims.current_step[-strokes.ndim :]
        shown = set(viewer.dims.displayed)
        hidden = viewer.dims.ndim - strokes.ndim
        return tuple(
            slice(None) if axis + hidden in shown else slice(int(step[axis]), int(step[axis]) + 1)
            for axis in range(strokes.ndim)
        )


def _sample(source: ImageSource, array: Any, annotation: StrokesView) -> Sample:
    return Sample(
        image=array, annotation=annotation, axes=source.axes, spacing=source.spacing, name=f"Image '{source.name}'"
    )
