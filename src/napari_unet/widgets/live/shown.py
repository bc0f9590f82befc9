"""The result that is in view, and the words for it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

__all__ = ["ShownAnswer", "describe_answer"]

_SOURCES = {"closed form": "solved from your strokes at once", "network": "by the trained network"}
_SHORT = {"closed form": "at once", "network": "trained"}


@dataclass(frozen=True)
class ShownAnswer:
    """A result that has just come into view.

    Attributes
    ----------
    image : str
        Unique id of the image layer.
    source : {"closed form", "network"}
        Whose result it is.
    change : int
        Changes of strokes, classes and images that it has taken in.
    step : int
        Training steps until then.
    at : float
        When it was handed to the canvas, on `time.perf_counter`.
    """

    image: str
    source: str
    change: int
    step: int
    at: float


def describe_answer(answer: ShownAnswer | None, scores: Mapping[str, float], image: Hashable) -> str:
    """Say whose result is shown, and the scores of both on the strokes that are held out.

    Nothing is said without an answer, nor of the answer for another layer than that with the id `image`.

    Examples
    --------
    >>> describe_answer(ShownAnswer("a", "network", 4, 20, 0.0), {"closed form": 0.9, "network": 0.954}, "a")
    'Shown: by the trained network (held-out score at once 0.90, trained 0.95)'
    """
    if answer is None or answer.image != image:
        return ""
    each = [f"{_SHORT[source]} {score:.2f}" for source, score in sorted(scores.items())]
    return f"Shown: {_SOURCES[answer.source]}" + (f" (held-out score {', '.join(each)})" if each else "")
