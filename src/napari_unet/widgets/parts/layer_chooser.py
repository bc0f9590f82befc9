"""A box to choose one of the window's layers; it holds the layers themselves, since names change and may be alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QSignalBlocker, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from napari_unet.widgets.parts.layer_tools import shape_of

__all__ = ["LayerChooser"]


class LayerChooser(QComboBox):
    """Lists the layers that pass a test, and follows what happens to them in the window.

    Parameters
    ----------
    viewer : ViewerModel
        Has the layers.
    accepts : callable
        Whether a layer is listed.
    empty : str
        What is shown while there is none.

    Signals
    -------
    layer_chosen : Layer or None
        Another layer is chosen, by the person or because the old one is gone.
    shape_changed : no arguments
        The chosen layer was given data of another shape.
    """

    layer_chosen = Signal(object)
    shape_changed = Signal()

    def __init__(
        self, viewer: ViewerModel, accepts: Callable[[Layer], bool], empty: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._accepts = accepts
        self._empty = empty
        self._layers: list[Layer] = []
        self._chosen: Layer | None = None
        self._shape: tuple[int, ...] = ()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._later = QTimer()  # without a parent: it can be stopped when this widget is gone already
        self._later.setSingleShot(True)
        self._later.timeout.connect(self.update_layers)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed, viewer.layers.events.reordered):
            event.connect(self._on_layers_changed)
        self.activated.connect(self._on_activated)

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        return self._chosen

    def choose(self, layer: Layer | None) -> None:
        """Choose a layer; tells listeners only if it is another one."""
        self._fill()
        chosen = layer if layer in self._layers else None
        self._show(chosen)
        if chosen is not self._chosen:
            self._chosen = chosen
            self._shape = () if chosen is None else shape_of(chosen)
            self.layer_chosen.emit(chosen)

    def update_layers(self) -> None:
        """List the layers anew; where the chosen one is gone, choose the active or the topmost one."""
        self._fill()
        if self._chosen is not None and self._chosen in self._layers:
            self._show(self._chosen)
            before, self._shape = self._shape, shape_of(self._chosen)
            if self._shape != before:
                self.shape_changed.emit()
            return
        active = self._viewer.layers.selection.active
        self.choose(active if active in self._layers else (self._layers[-1] if self._layers else None))

    def disconnect_viewer(self) -> None:
        """Stop following the window."""
        self._later.stop()
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.disconnect(self._on_layers_changed)
        self._follow_layers([])
        self._chosen = None

    def _on_layers_changed(self, event: Any = None) -> None:
        self._later.start(0)  # when napari is done with the change

    def _on_data(self, event: Any) -> None:
        if event.source is self._chosen and shape_of(event.source) != self._shape:
            self._later.start(0)

    def _on_activated(self, index: int) -> None:
        if 0 <= index < len(self._layers):
            self.choose(self._layers[index])

    def _fill(self) -> None:
        self._follow_layers([layer for layer in self._viewer.layers if self._accepts(layer)])
        with QSignalBlocker(self):
            self.clear()
            self.addItems([layer.name for layer in self._layers] or [self._empty])
            self._show(self._chosen)
        self.setEnabled(bool(self._layers))

    def _show(self, layer: Layer | None) -> None:
        with QSignalBlocker(self):
            self.setCurrentIndex(self._layers.index(layer) if layer in self._layers else (-1 if self._layers else 0))

    def _follow_layers(self, layers: list[Layer]) -> None:
        for layer in self._layers:
            if layer not in layers:
                layer.events.name.disconnect(self._on_layers_changed)
                layer.events.data.disconnect(self._on_data)
        for layer in layers:
            if layer not in self._layers:
                layer.events.name.connect(self._on_layers_changed)
                layer.events.data.connect(self._on_data)
        self._layers = layers
