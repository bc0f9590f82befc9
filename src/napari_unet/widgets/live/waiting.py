"""The words for an answer that is on its way, where it takes longer than a moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_unet.live.learner import LiveLearner

__all__ = ["Waiting"]

_MOMENT = 0.7  # seconds, in which most answers come


class Waiting:
    """Notices that an answer is late.

    Attributes
    ----------
    words : str
        What to say of it; empty while nothing is late.

    Examples
    --------
    >>> waiting = Waiting()
    >>> waiting.look(None, is_painted=False, is_volume=True), waiting.words
    (False, '')
    """

    def __init__(self) -> None:
        self.words = ""
        self._since: float | None = None

    def look(self, learner: LiveLearner | None, *, is_painted: bool, is_volume: bool) -> bool:
        """Look whether an answer is due; returns whether the words have changed.

        Parameters
        ----------
        learner : LiveLearner or None
            What answers; None while it is being made.
        is_painted : bool
            Whether enough is painted for an answer.
        is_volume : bool
            Whether a volume is looked at as a whole.
        """
        before, self.words = self.words, ""
        if not is_painted or not (learner is None or learner.is_behind):
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > _MOMENT:
            self.words = self._describe(time.monotonic() - self._since, learner is None, is_volume)
        return self.words != before

    def _describe(self, seconds: float, is_made: bool, is_volume: bool) -> str:
        if is_made:
            return f"The network is being made ready… {seconds:.0f} s"
        first = ": a volume is looked at as a whole the first time" if is_volume else ""
        return f"The result is on its way{first}… {seconds:.0f} s"
