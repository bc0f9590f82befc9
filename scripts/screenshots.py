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
    with TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = os.path.join(folder, "settings.yaml")
        take_pictures()


def take_pictures() -> None:
    import napari
    from PIL import Image
    from qtpy.QtWidgets import QApplication

    from napari_unet.data.simulated_strokes import simulate_strokes
    from napari_unet.data.synthetic import cells
    from napari_unet.widgets.segment_dock import SegmentDock

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
    viewer.close()


if __name__ == "__main__":
    main()
