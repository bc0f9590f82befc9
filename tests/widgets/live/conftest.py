"""A dock that answers while one paints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from napari.components import ViewerModel

from napari_unet.widgets.segment.dock import SegmentDock


@pytest.fixture
def make_live_dock(make_dock: Callable[[], SegmentDock]) -> Iterator[Callable[[], SegmentDock]]:
    """Return a function that makes a dock that answers, and trains until it is stopped."""
    made: list[SegmentDock] = []

    def make() -> SegmentDock:
        dock = make_dock()
        dock.panel.seconds.setValue(0)
        dock.panel.window_form.set_values({"answers": True})
        made.append(dock)
        return dock

    yield make
    for dock in made:
        dock.close_dock()


@pytest.fixture
def live(
    viewer: ViewerModel, make_live_dock: Callable[[], SegmentDock], spots: Callable[..., Any], do: Any
) -> SegmentDock:
    """Return such a dock, with an image and strokes of two classes."""
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots")
    dock = make_live_dock()
    do.paint(dock, truth)
    return dock
