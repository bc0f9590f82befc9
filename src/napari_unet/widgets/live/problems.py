"""What went wrong while it learns: said once, and taken back when it goes well again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari_unet.errors import UNetError
from napari_unet.widgets.parts.messages import MessageLine

if TYPE_CHECKING:
    from napari_unet.live.events import Part, Problem

__all__ = ["Problems"]

_LOG = logging.getLogger(__name__)


class Problems:
    """Says what fails, but aloud only once, however often it is tried.

    Parameters
    ----------
    message : MessageLine
        Where it is said.
    """

    def __init__(self, message: MessageLine) -> None:
        self._message = message
        self._told: dict[Part, Problem] = {}

    @property
    def any_left(self) -> bool:
        """Whether anything that failed has not gone well since."""
        return bool(self._told)

    def tell(self, problem: Problem) -> None:
        """Say what failed; quietly if that, or the same error elsewhere, was said and has not gone well since."""
        known = {told.message: repr(told.error) for told in self._told.values()}
        self._told[problem.during] = problem
        if problem.message in known or repr(problem.error) in known.values():
            self._message.note(problem.message)  # in the dock only
            return
        if not isinstance(problem.error, UNetError):
            _LOG.error("%s", problem.message, exc_info=problem.error)
        self._message.problem(problem.message)

    def go_well(self, *parts: Part) -> None:
        """Note that these go well: what was said of them no longer holds."""
        for part in parts:
            told = self._told.pop(part, None)
            if told is not None and self._message.text() == told.message:
                self._message.clear_message()
