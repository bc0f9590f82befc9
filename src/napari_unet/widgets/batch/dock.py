"""The dock "U-Net: Batch": a folder of images through one model, with a table of what was found.

The batch runs in a worker; the dock only takes its events. A double click on a row opens the image and its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_unet.batch.events import BatchEvent, BatchFinished, BatchNote, BatchStarted, ImageFinished, ImageProgress
from napari_unet.batch.plan import BatchConfig
from napari_unet.batch.record import BatchRow
from napari_unet.data.image_search import KINDS, READABLE
from napari_unet.errors import InputError
from napari_unet.predict.config import PredictConfig
from napari_unet.widgets.batch.job import BatchRequest, LayerToAdd, open_pair, run_images
from napari_unet.widgets.batch.panel import BatchPanel
from napari_unet.widgets.parts.memory_pauses import MemoryPauses
from napari_unet.widgets.parts.progress_and_files import MODEL_FILES
from napari_unet.widgets.parts.scrolling_dock import ScrollingDock
from napari_unet.widgets.parts.worker import Job, Work
from napari_unet.widgets.segment.dock import SegmentDock
from napari_unet.widgets.segment.requests import default_threads
from napari_unet.words import clock

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from napari_unet.models.model import Model

__all__ = ["BatchDock"]

_IMAGES = f"Images ({' '.join(f'*{ending}' for ending in READABLE)});;All files (*)"


class BatchDock(ScrollingDock):
    """The dock.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The window's viewer; given by napari.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.panel = BatchPanel()
        self.message = self.panel.message
        self._files: tuple[Path, ...] = ()  # chosen one by one, instead of what is written in the line
        self._jobs: list[Job] = []  # the one that runs, if any
        self._opened: dict[Path, list[Layer]] = {}
        self._pauses = MemoryPauses()
        self._put_into_scroll_area(self.panel)
        self._connect()

    @property
    def is_running(self) -> bool:
        """Whether a batch runs, or files are being opened."""
        return bool(self._jobs)

    @property
    def rows(self) -> list[BatchRow]:
        """What became of the images so far."""
        return self.panel.table.results.rows

    def _connect(self) -> None:
        panel = self.panel
        panel.open_model.clicked.connect(self._on_open_model)
        panel.choose_folder.clicked.connect(self._on_choose_folder)
        panel.choose_files.clicked.connect(self._on_choose_files)
        panel.choose_results.clicked.connect(self._on_choose_results)
        panel.images.textEdited.connect(self._on_images_edited)
        panel.start.clicked.connect(self._on_start)
        panel.table.doubleClicked.connect(self._on_double_click)
        self._when_closed(partial(_close_parts, self._jobs, self._pauses))

    # ---- choosing

    def _on_open_model(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a model", "", MODEL_FILES)
        if path:
            self.use_model(path)

    def use_model(self, path: str | Path) -> None:
        """Take a model from a file."""
        file, box = Path(path), self.panel.model
        if box.findData(str(file)) < 0:
            box.addItem(file.name.removesuffix(".safetensors").removesuffix(".unet"), str(file))
        box.setCurrentIndex(box.findData(str(file)))
        self.message.clear_message()

    def _on_choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a folder of images", self.panel.images.text())
        if folder:
            self.use_images([folder])

    def _on_choose_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, f"Choose images ({KINDS})", "", _IMAGES)
        if paths:
            self.use_images(paths)

    def use_images(self, paths: Sequence[str | Path]) -> None:
        """Take a folder, or some images."""
        chosen = tuple(Path(path) for path in paths)
        self._files = chosen if len(chosen) > 1 else ()
        self.panel.images.setText(str(chosen[0]) if len(chosen) == 1 else f"{len(chosen)} images of {chosen[0].parent}")
        self.message.clear_message()

    def _on_images_edited(self) -> None:
        self._files = ()

    def _on_choose_results(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a folder for the results", self.panel.results.text())
        if folder:
            self.panel.results.setText(folder)

    # ---- running

    def _on_start(self) -> None:
        if self._jobs:
            self._jobs[0].stop()
            self.panel.start.setEnabled(False)
            self.panel.start.setText("Stopping…")
            return
        self.start()

    def start(self) -> None:
        """Segment the chosen images, in a worker."""
        self.message.clear_message()
        with self.message.reporting("The batch"):
            request = self._request()
            self.panel.table.clear()
            self.panel.summary.setText("")
            self.panel.show_running(True)
            self.panel.show_share(0.0, "Looking for the images…")
            self._run(partial(run_images, request), self._on_batch_event, "The batch")

    def _request(self) -> BatchRequest:
        """Take what is chosen in the dock.

        Raises
        ------
        UNetError
            If something is missing.
        """
        panel = self.panel
        text = panel.images.text().strip()
        if not text:
            raise InputError("There are no images yet: choose a folder or files.")
        images = self._files or (Path(text).expanduser(),)
        pattern = panel.pattern.text().strip()
        folder = images[0] if images[0].is_dir() else images[0].parent
        if pattern and not self._files:
            if not images[0].is_dir():
                raise InputError(f"'Only {pattern}' is for a folder of images, but {images[0].name} is none.")
            images = (images[0] / pattern,)
        chosen = panel.results.text().strip()
        results = Path(chosen).expanduser() if chosen else _fixed_part(folder) / "segmented"
        config = BatchConfig(
            results,
            panel.format.currentData(),
            probabilities=panel.probabilities.isChecked(),
            existing=panel.existing.currentData(),
        )
        return BatchRequest(self._model(), images, config, PredictConfig(**panel.form.values()), default_threads())

    def _model(self) -> Model | Path:
        file = self.panel.model.currentData()
        if file is not None:
            return Path(file)
        docks = [widget for widget in QApplication.allWidgets() if isinstance(widget, SegmentDock)]
        models = [dock.runner.model for dock in docks if dock.viewer is self.viewer]
        trained = [model for model in models if model is not None]
        if not trained:
            raise InputError("There is no trained model yet: train one in U-Net: Segment, or open one from a file.")
        return trained[-1]

    def _run(self, work: Work, on_event: Any, doing: str) -> None:
        self._pauses.hold("job")
        job = Job(
            work,
            on_event=on_event,
            on_error=lambda error: self.message.failure(error, doing),
            on_finished=self._end,
        )
        self._jobs.append(job)

    def _on_batch_event(self, event: BatchEvent) -> None:
        panel = self.panel
        left = "" if event.seconds_left is None else f" · {clock(event.seconds_left)} left"
        if isinstance(event, BatchStarted):
            panel.summary.setText(f"Table: {event.table}")
        elif isinstance(event, ImageProgress):
            words = f"{event.done + 1} of {event.total}{left} · {event.image.name}"
            panel.show_share((event.done + event.fraction) / event.total, words)
        elif isinstance(event, ImageFinished):
            panel.table.show()
            panel.table.add(event.row)
            panel.show_share(event.done / event.total, f"{event.done} of {event.total}{left}")
        elif isinstance(event, BatchNote):
            self.message.note(event.message)
        elif isinstance(event, BatchFinished):
            panel.summary.setText(self._sum_up(event) + f"\n{panel.summary.text()}")

    def _sum_up(self, event: BatchFinished) -> str:
        states = [row.state for row in self.rows]
        counts = [
            (states.count("done"), "segmented"),
            (states.count("kept"), "kept"),
            (states.count("failed"), "failed"),
        ]
        words = ", ".join(f"{count} {word}" for count, word in counts if count) or "Nothing was done"
        rest = f"; stopped before {event.total - event.done} others, Start goes on" if event.stopped else ""
        return f"{words}{rest}. A double click on a row opens its image."

    def _end(self) -> None:
        self._jobs.clear()
        self._pauses.release("job")
        self.panel.show_running(False)

    # ---- opening

    def _on_double_click(self, index: QModelIndex) -> None:
        self.open_row(index.row())

    def open_row(self, number: int) -> None:
        """Show the image of a row and its result alone: open them, or select them if they are open."""
        row = self.rows[number]
        if self._jobs:
            self.message.note("The images can be opened when the batch is done or stopped.")
            return
        layers = [layer for path in (row.file, row.result) for layer in self._opened.get(Path(path), [])]
        layers = [layer for layer in layers if layer in self.viewer.layers]
        if layers:
            self.viewer.layers.selection = set(layers)
            self._show_alone(layers)
            return
        self.message.clear_message()
        self._run(partial(open_pair, row), self._on_layer, f"Opening {Path(row.file).name}")

    def _on_layer(self, ready: LayerToAdd) -> None:
        add = self.viewer.add_image if ready.kind == "image" else self.viewer.add_labels
        added = add(ready.data, **ready.options)
        self._opened[ready.path] = layers = added if isinstance(added, list) else [added]
        if ready.kind == "image":
            self._show_alone(layers)

    def _show_alone(self, layers: list[Layer]) -> None:
        """Hide the other layers, which lie at the same place, and move the view to these."""
        for layer in self.viewer.layers:
            layer.visible = layer in layers
        self.viewer.fit_to_view(layers=layers)


def _fixed_part(path: Path) -> Path:
    """Return the folder above all that a pattern leaves open."""
    while any(sign in str(path) for sign in "*?["):
        path = path.parent
    return path


def _close_parts(jobs: list[Job], pauses: MemoryPauses) -> None:
    for job in jobs:
        job.abort()
    jobs.clear()
    pauses.close()
