"""Ticks the first steps off by what really happens in the dock, and opens the help page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.widgets.guide.help_window import HelpWindow
from napari_unet.widgets.guide.seen import forget_first_steps, have_seen_first_steps, remember_first_steps
from napari_unet.widgets.guide.strip import STEPS
from napari_unet.widgets.training.status import was_trained

if TYPE_CHECKING:
    from napari_unet.widgets.segment.dock import SegmentDock

__all__ = ["Guide"]


class Guide:
    """Follows a dock.

    Parameters
    ----------
    dock : SegmentDock
        Is looked at; calls `update` when something happened.

    Attributes
    ----------
    done : set of str
        The steps that are done, see `napari_unet.widgets.guide.strip.STEPS`. What is done stays so.
    """

    def __init__(self, dock: SegmentDock) -> None:
        self.dock = dock
        self.done: set[str] = set()
        self.help: HelpWindow | None = None
        self._strokes_before: int | None = None
        self._active = not have_seen_first_steps()
        dock.panel.guide.dismissed.connect(self.put_away)
        dock.panel.help.clicked.connect(self.show_help)

    def update(self) -> None:
        """Look what was done, and show what comes next."""
        if not self._active:
            return
        dock = self.dock
        if dock.image is not None:
            self.done.add("open")
        if 1 in dock.desk.painted:
            self.done.add("background")
        if any(label > 1 for label in dock.desk.painted):
            self.done.add("class")
        if dock.runner.kind == "train" or was_trained(dock.runner.status, dock.runner.model):
            self.done.add("train")
            if self._strokes_before is None:
                self._strokes_before = dock.desk.strokes_made
            if dock.desk.strokes_made > self._strokes_before:
                self.done.add("correct")
        if dock.runner.predicted_all:
            self.done.add("segment")
        if len(self.done) == len(STEPS):
            self.put_away()
        else:
            key = dock.desk.next_key if dock.task == "objects" else ""
            touching = f" Before one that touches a painted one, press {key}." if key else ""
            dock.panel.guide.show_steps(list(self.done), {"class": touching})
            dock.panel.hint.hide()  # the strip says the same

    def put_away(self) -> None:
        """Show the steps no more, in later windows neither."""
        self._active = False
        self.dock.panel.guide.hide()
        self.dock.panel.hint.show()
        with self.dock.message.reporting("Remembering that the first steps were seen"):
            remember_first_steps()

    def start_again(self) -> None:
        """Show the steps from the beginning; what is there already is ticked off at once."""
        with self.dock.message.reporting("Bringing the first steps back"):
            forget_first_steps()
        self.done.clear()
        self._strokes_before = None
        self.dock.runner.predicted_all = False
        self._active = True
        self.update()

    def show_help(self) -> None:
        """Open the help page, or bring it to the front."""
        if self.help is None:
            self.help = HelpWindow("segment", self.dock, self.dock.keys.entries)
            self.first_steps = self.help.add_button("Show the first steps in the dock")
            self.first_steps.clicked.connect(self.start_again)
        self.help.bring_up()
