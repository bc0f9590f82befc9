"""The dock "U-Net: Evaluate": scores a labels layer against a reference, and shows where it is wrong.

The scoring runs in a worker; the dock only takes its events.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Labels, Layer
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog

from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.assess.evaluation_table import EvaluationTable
from napari_unet.widgets.annotate.annotation import ROLE
from napari_unet.widgets.evaluate.error_layer import is_error_layer, show_errors
from napari_unet.widgets.evaluate.panel import EvaluatePanel
from napari_unet.widgets.evaluate.score_job import Scored, ScoreProgress, make_request, save_table, score
from napari_unet.widgets.parts.layer_chooser import LayerChooser
from napari_unet.widgets.parts.layer_tools import read_role
from napari_unet.widgets.parts.memory_pauses import MemoryPauses
from napari_unet.widgets.parts.scrolling_dock import ScrollingDock
from napari_unet.widgets.parts.worker import Job, StopCheck, Work

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["EvaluateDock"]

_TASKS = {"result objects": "objects", "result areas": "classes"}


def _can_be_scored(layer: Layer) -> bool:
    return isinstance(layer, Labels) and not is_error_layer(layer)


class EvaluateDock(ScrollingDock):
    """The dock.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The window's viewer; given by napari.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.predicted_chooser = LayerChooser(self.viewer, _can_be_scored, "no labels layer is open")
        self.reference_chooser = LayerChooser(self.viewer, _can_be_scored, "no labels layer is open")
        self.panel = EvaluatePanel(self.predicted_chooser, self.reference_chooser)
        self.message = self.panel.message
        self.table = EvaluationTable(())
        self._jobs: list[Job] = []  # the one that runs, if any
        self._scoring: tuple[Labels, Labels] | None = None
        self._scored: Scored | None = None
        self._pauses = MemoryPauses()
        self._against_strokes = False
        self._put_into_scroll_area(self.panel)
        self._connect()
        self.predicted_chooser.update_layers()
        self.reference_chooser.update_layers()
        self._choose_first_layers()

    @property
    def is_running(self) -> bool:
        """Whether something is being scored or saved."""
        return bool(self._jobs)

    # ---- putting it together

    def _connect(self) -> None:
        panel = self.panel
        self.predicted_chooser.layer_chosen.connect(self._on_predicted_chosen)
        self.reference_chooser.layer_chosen.connect(self._on_reference_chosen)
        panel.score.clicked.connect(self._on_score)
        panel.copy.clicked.connect(self._on_copy)
        panel.save.clicked.connect(self._on_save)
        self.viewer.layers.events.inserted.connect(self._on_inserted)
        self.viewer.layers.events.removed.connect(self._on_removed)
        parts = (self.viewer, self.predicted_chooser, self.reference_chooser, self._pauses, self._jobs)
        self._when_closed(partial(_close_parts, *parts, self._on_inserted, self._on_removed))

    # ---- choosing

    def _choose_first_layers(self) -> None:
        """Begin with a result of the program's own, if there is one, and any other layer as its reference."""
        layers = [layer for layer in self.viewer.layers if _can_be_scored(layer)]
        results = [layer for layer in layers if read_role(layer) in _TASKS]
        if results:
            self.predicted_chooser.choose(results[-1])
            self._on_predicted_chosen(results[-1])
        self._choose_other_reference()

    def _choose_other_reference(self) -> None:
        """Where one layer is chosen for both, take another one as the reference."""
        if self.reference_chooser.layer is not self.predicted_chooser.layer:
            return
        others = [
            layer for layer in self.viewer.layers if _can_be_scored(layer) and layer is not self.predicted_chooser.layer
        ]
        if others:
            own = [layer for layer in others if read_role(layer) is None]  # of the person's own making
            self.reference_chooser.choose((own or others)[-1])

    def _on_predicted_chosen(self, layer: Layer | None) -> None:
        task = None if layer is None else _TASKS.get(read_role(layer) or "")
        if task is not None:
            self.panel.form.set_values({"task": task})
        self.message.clear_message()

    def _on_reference_chosen(self, layer: Layer | None) -> None:
        against_strokes = layer is not None and read_role(layer) == ROLE
        if against_strokes != self._against_strokes:
            self._against_strokes = against_strokes
            self.panel.form.set_values({"reference_zero": "unlabelled" if against_strokes else "background"})
        self.message.clear_message()

    def _on_inserted(self, event: Any) -> None:
        if _can_be_scored(event.value) and not self.is_running:
            self._choose_other_reference()

    def _on_removed(self, event: Any) -> None:
        if self._jobs and self._scoring is not None and event.value in self._scoring:
            self._jobs[0].abort()
            self._scoring = None
            self._end()
            self.message.problem(
                f"'{event.value.name}' was removed while it was scored: choose another layer and press Score."
            )

    # ---- scoring

    def _on_score(self) -> None:
        if self._jobs:
            self._jobs[0].stop()
        else:
            self.start()

    def start(self) -> None:
        """Score the chosen layers, in a worker."""
        self.message.clear_message()
        layers = (self.predicted_chooser.layer, self.reference_chooser.layer)
        with self.message.reporting("The scoring"):
            config = EvaluationConfig(**self.panel.form.values())
            request = make_request(*layers, config, with_errors=self.panel.with_errors.isChecked())
            self._scoring = request.layers
            self._run(lambda should_stop: score(request, should_stop), "The scoring")
            self.panel.show_running(True)

    def _run(self, work: Work, doing: str) -> None:
        self._pauses.hold("job")
        job = Job(
            work,
            on_event=self._on_event,
            on_error=lambda error: self.message.failure(error, doing),
            on_finished=self._end,
        )
        self._jobs.append(job)

    def _on_event(self, event: Any) -> None:
        if isinstance(event, ScoreProgress):
            self.panel.bar.setValue(int(1000 * event.done / event.total))
        elif isinstance(event, Scored):
            self._scored = event  # shown when the worker has ended and leaves the machine to the window
        elif isinstance(event, str):
            self.message.note(event)

    def _show(self, scored: Scored, predicted: Labels, reference: Labels) -> None:
        self.table = scored.table
        rows = len(scored.table.rows)
        if not rows:
            self.message.note("Stopped before the first frame was scored.")
            return
        self.panel.table.show_table(scored.table)
        words = f"'{predicted.name}' against '{reference.name}'" + (f", {rows} frames" if rows > 1 else "")
        self.panel.summary.setText(words if scored.complete else f"{words}; stopped before the others")
        self.panel.show_scored(True, errors=scored.errors is not None)
        if scored.errors is not None:
            show_errors(self.viewer, predicted, scored.errors)

    def _end(self) -> None:
        scored, layers = self._scored, self._scoring
        self._scored, self._scoring = None, None
        self._jobs.clear()
        self._pauses.release("job")
        self.panel.show_running(False)
        if scored is not None and layers is not None:
            self._show(scored, *layers)

    # ---- the table

    def _on_copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.table.to_csv(separator="\t"))
            self.message.note("The table is copied: paste it into a spreadsheet.")

    def _on_save(self) -> None:
        name = f"{self.table.rows[0].name} scores.csv" if self.table.rows else "scores.csv"
        path, _ = QFileDialog.getSaveFileName(self, "Save the table", name, "Tables (*.csv);;All files (*)")
        if path:
            self.save_table_to(path)

    def save_table_to(self, path: str | Path) -> None:
        """Save the table as CSV, in a worker; the ending is added where there is none."""
        if self._jobs:
            self.message.problem("Something is still being scored; wait until it is done, or stop it.")
            return
        target = Path(path)
        target = target if target.suffix else target.with_name(f"{target.name}.csv")
        table = self.table

        def work(should_stop: StopCheck) -> Generator[str, None, None]:
            save_table(table, target)
            yield f"The table is saved as {target.name}."

        self._run(work, "Saving the table")


def _close_parts(
    viewer: ViewerModel,
    predicted: LayerChooser,
    reference: LayerChooser,
    pauses: MemoryPauses,
    jobs: list[Job],
    on_inserted: Callable[[Any], None],
    on_removed: Callable[[Any], None],
) -> None:
    for job in jobs:
        job.abort()
    jobs.clear()
    viewer.layers.events.inserted.disconnect(on_inserted)
    viewer.layers.events.removed.disconnect(on_removed)
    predicted.disconnect_viewer()
    reference.disconnect_viewer()
    pauses.close()
