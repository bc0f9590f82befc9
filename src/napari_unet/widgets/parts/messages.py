"""One place for all that the dock says to the person: a line in the dock, and for problems napari's notification."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_unet.errors import UNetError, is_out_of_memory

__all__ = ["MessageLine", "in_words"]

_LOG = logging.getLogger(__name__)
_STYLE = "QLabel {{ border-left: 3px solid {edge}; padding: 5px 6px; background: rgba(128, 128, 128, 40); }}"
_EDGES = {"note": "#56b4e9", "problem": "#e69f00", "failure": "#d55e00"}


def in_words(error: BaseException, doing: str) -> str:
    """Say in one sentence what went wrong, without a traceback.

    Parameters
    ----------
    error : BaseException
        Errors of this package say it themselves.
    doing : str
        What was going on, for the others: ``"The training"``.

    Examples
    --------
    >>> in_words(OSError(28, "No space left on device"), "Saving the model")
    'Saving the model stopped: No space left on device.'
    """
    if isinstance(error, UNetError):
        return str(error)
    if is_out_of_memory(error):
        return f"{doing} stopped: the memory is not enough. Close other programs, or lower the width in Advanced."
    reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0] or type(error).__name__
    return f"{doing} stopped: {str(reason).removesuffix('.')}."


class MessageLine(QLabel):
    """Shows the last message in the dock; hidden while there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setAccessibleName("Message")
        self.hide()

    def note(self, text: str) -> None:
        """Tell something that needs no action; in the dock only."""
        self._put(text, "note")

    def problem(self, text: str) -> None:
        """Tell what the person must do to go on."""
        self._put(text, "problem")
        show_warning(text)

    def failure(self, error: BaseException, doing: str) -> None:
        """Tell that something failed; what is no fault of the person's is logged with its traceback."""
        text = in_words(error, doing)
        if isinstance(error, UNetError):
            self.problem(text)
            return
        _LOG.error("%s", text, exc_info=error)
        self._put(text, "failure")
        show_error(text)

    def clear_message(self) -> None:
        """Take the message away."""
        self.setText("")
        self.hide()

    @contextmanager
    def reporting(self, doing: str, *, otherwise: Callable[[], None] | None = None) -> Iterator[None]:
        """Turn errors into messages; `otherwise` is called after one."""
        try:
            yield
        except (UNetError, OSError, MemoryError) as error:
            self.failure(error, doing)
            if otherwise is not None:
                otherwise()

    def _put(self, text: str, kind: str) -> None:
        self.setProperty("kind", kind)
        self.setStyleSheet(_STYLE.format(edge=_EDGES[kind]))
        self.setText(text)
        self.show()
