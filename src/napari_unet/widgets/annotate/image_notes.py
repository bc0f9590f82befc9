"""What a person said about the open images: their axes, their strokes layer, and what its labels mean."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_unet.errors import UNetError
from napari_unet.widgets.annotate.annotation import ROLE, check_shape
from napari_unet.widgets.parts.layer_tools import find_marked, read_mark, read_role
from napari_unet.widgets.parts.source import ImageSource, read_source
from napari_unet.widgets.training.train_job import PaintedImage

__all__ = ["ImageNotes"]


class ImageNotes:
    """Remembers for each layer what was chosen for it, as long as the layer lives.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layers these are.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self._axes: WeakKeyDictionary[Layer, str] = WeakKeyDictionary()
        self._meanings: WeakKeyDictionary[Layer, str] = WeakKeyDictionary()
        self._strokes: WeakKeyDictionary[Layer, Labels] = WeakKeyDictionary()

    def axes_of(self, image: Layer) -> str:
        """Return the axes that were typed in for an image; empty: to be guessed."""
        return self._axes.get(image, "")

    def set_axes(self, image: Layer, axes: str) -> None:
        """Remember the axes of an image."""
        self._axes[image] = axes

    def meaning_of(self, strokes: Layer) -> str:
        """Return what the labels of a strokes layer mean, see `napari_unet.widgets.annotate.annotation.interpret`."""
        return self._meanings.get(strokes, "strokes")

    def set_meaning(self, strokes: Layer, meaning: str) -> None:
        """Remember what the labels of a layer mean."""
        self._meanings[strokes] = meaning

    def strokes_of(self, image: Layer, source: ImageSource | None = None) -> Labels | None:
        """Return the strokes layer of an image: the one that was chosen for it, else the one made for it.

        If the image was read, that is one of its shape; else the first one.
        """
        chosen = self._strokes.get(image)
        if chosen is not None and chosen in self.viewer.layers:
            return chosen
        shape = None if source is None else source.layout.label_shape
        made = find_marked(self.viewer.layers, ROLE, image, shape)
        return made if isinstance(made, Labels) else None

    def set_strokes(self, image: Layer, strokes: Labels) -> None:
        """Remember that a person chose this layer as the strokes of an image."""
        self._strokes[image] = strokes

    def annotated(self) -> list[tuple[Layer | None, Labels]]:
        """List the strokes layers in the window, each with its image, or None where that is gone."""
        owners = {str(layer.unique_id): layer for layer in self.viewer.layers if isinstance(layer, Image)}
        found: dict[Labels, Layer | None] = {
            layer: owners.get(read_mark(layer, ROLE) or "")
            for layer in self.viewer.layers
            if isinstance(layer, Labels) and read_role(layer) == ROLE
        }
        found |= {strokes: image for image, strokes in self._strokes.items() if strokes in self.viewer.layers}
        return [(image, strokes) for strokes, image in found.items()]

    def painted(self, source: ImageSource, strokes: Labels) -> PaintedImage:
        """Put an image and its strokes together for a training."""
        return PaintedImage(source, strokes.data, strokes.name, self.meaning_of(strokes))

    def others_painted(self, image: Image, source: ImageSource) -> list[PaintedImage]:
        """List the other images in the window that can be trained on with this one."""
        others = []
        for layer in self.viewer.layers:
            found = self.find_other(layer, source) if isinstance(layer, Image) and layer is not image else None
            if found is not None:
                others.append(self.painted(*found))
        return others

    def find_other(self, image: Image, source: ImageSource) -> tuple[ImageSource, Labels] | None:
        """Return another image as it can be trained on with one that was read, and its strokes; None if it can't."""
        try:
            other = read_source(image, ndim=source.layout.ndim, axes=self.axes_of(image))
            strokes = self.strokes_of(image, other)
            if strokes is None or other.layout.channels != source.layout.channels:
                return None
            check_shape(strokes, other)
        except UNetError:
            return None  # an image of another kind
        return other, strokes
