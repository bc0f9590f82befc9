"""Takes the pictures of the window that the README shows: `make screenshots`.

The image is the synthetic one of File > Open Sample, the strokes stand for a person's, buttons and workers are the real
ones. On Linux without a display it starts Xvfb by itself.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / "docs" / "images"
SIZE = (1400, 900)
TRAIN_SECONDS = 40


def main() -> None:
    if sys.platform == "linux" and "DISPLAY" not in os.environ:
        command = shutil.which("xvfb-run")
        if command is None:
            sys.exit("There is no display; install Xvfb, or run this in a desktop session.")
        screen = "-screen 0 1600x1000x24"
        os.execv(command, [command, "-a", "-s", screen, sys.executable, __file__])
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["NAPARI_CONFIG"] = os.path.join(folder, "settings.yaml")
        os.environ["NAPARI_UNET_SESSIONS"] = os.path.join(folder, "sessions")
        os.environ["NAPARI_UNET_SETTINGS"] = os.path.join(folder, "choices")
        take_pictures()


def take_pictures() -> None:
    import napari
    from PIL import Image
    from qtpy.QtWidgets import QApplication

    from napari_unet.data.simulated_strokes import simulate_strokes
    from napari_unet.data.synthetic import cells
    from napari_unet.widgets.segment.dock import SegmentDock

    viewer = napari.Viewer(title="napari", show=True)
    viewer.window.resize(*SIZE)
    example = cells((512, 512), noise=0.03, seed=3)
    viewer.add_image(example.image, name="cells")
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock, name="U-Net: Segment", area="right")

    def wait(until: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)

    def save(name: str) -> None:
        wait(lambda: False, 1.0)
        FOLDER.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(viewer.screenshot(canvas_only=False)[..., :3])
        picture.save(FOLDER / f"{name}.png", optimize=True)

    save("open")
    strokes = dock.strokes
    assert strokes is not None
    painted = simulate_strokes(np.asarray(example.labels), task="objects", strokes_per_class=12, length=60, width=5)
    strokes.data = painted.astype(strokes.dtype)
    save("strokes")
    dock.panel.seconds.setValue(TRAIN_SECONDS)
    dock.panel.train.click()
    wait(lambda: not dock.runner.kind, 4 * TRAIN_SECONDS)
    strokes.visible = False
    save("segmented")
    strokes.visible = True
    show_uncertainty(dock, wait)
    save("uncertainty")
    viewer.layers.remove("disagreement: cells")
    viewer.layers["objects: cells"].visible = True
    viewer.reset_view()
    correct(dock, np.asarray(example.labels), wait)
    save("correct")
    dock.tools.corrections.put_away()
    show_batch(viewer, wait)
    save("batch")
    viewer.close()


def show_uncertainty(dock: Any, wait: Callable[[Callable[[], bool], float], None]) -> None:
    """Show where the model says something else when the image is turned, and go to the next uncertain spot."""
    spot, spots = dock.panel.spot, dock.tools.spots
    spot.measures.setCurrentIndex(spot.measures.findData("disagreement"))
    spot.uncertainty.setChecked(True)
    spots.search()
    wait(lambda: not spots.is_busy, 300)
    dock.viewer.layers["objects: cells"].visible = False


def correct(dock: Any, truth: np.ndarray, wait: Callable[[Callable[[], bool], float], None]) -> None:
    """Accept an object and split another, with a tool in hand; then go to the next uncertain spot."""
    tools, spots = dock.tools.corrections, dock.tools.spots
    dock.panel.correct_section.heading.setChecked(True)
    middles = [np.argwhere(truth == label).mean(axis=0) for label in (5, 9)]
    tools.use("accept", np.array([middles[0]]))
    tools.use("split", np.stack([middles[1] - [40, 0], middles[1] + [40, 0]]))
    wait(lambda: not tools.is_busy, 10)
    spots.search()
    wait(lambda: not spots.is_busy, 60)
    tools.take("split")


def show_batch(viewer: Any, wait: Callable[[Callable[[], bool], float], None]) -> None:
    """Send a folder of cells, and one broken file, through the network, and open one of them."""
    from napari_unet.data.files import write_image
    from napari_unet.data.synthetic import cells
    from napari_unet.widgets.batch.dock import BatchDock

    dock = BatchDock(viewer)
    area = viewer.window.add_dock_widget(dock, name="U-Net: Batch", area="right", tabify=True)
    area.raise_()
    with TemporaryDirectory() as folder:
        images = Path(folder, "cells")
        for number in range(1, 9):
            made = cells((512, 512), noise=0.03, seed=10 + number)
            write_image(images / f"well_{number}.tif", made.image, "YX", (0.5, 0.5))
        (images / "well_5.tif").write_bytes((images / "well_4.tif").read_bytes()[:5000])
        dock.use_images([images])
        dock.panel.start.click()
        wait(lambda: not dock.is_running, 120)
        viewer.layers.clear()
        dock.open_row(2)
        wait(lambda: len(viewer.layers) == 2 and not dock.is_running, 30)
        viewer.reset_view()
        dock.panel.summary.setText(dock.panel.summary.text().replace(folder, "…"))
        dock.panel.images.setText("cells")


if __name__ == "__main__":
    main()
