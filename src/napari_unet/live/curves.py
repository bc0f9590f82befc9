"""Loss and scores over the steps, with marks where strokes changed, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Curves"]

_MOST_POINTS = 4096

Points = list[tuple[int, float]]


@dataclass(eq=False)
class Curves:
    """What a plot shows.

    Attributes
    ----------
    loss, network, closed_form : list of (int, float)
        Step and value: the loss, and the held-out scores of the two sources. Of more than 4,096 points every second
        one is kept.
    marks : list of int
        Steps at which strokes were changed, each once.

    Examples
    --------
    >>> curves = Curves()
    >>> for step in range(10_000):
    ...     curves.add("loss", step, 1.0)
    >>> 2048 < len(curves.loss) <= 4096, curves.loss[0], curves.loss[-1]
    (True, (0, 1.0), (9999, 1.0))
    """

    loss: Points = field(default_factory=list)
    network: Points = field(default_factory=list)
    closed_form: Points = field(default_factory=list)
    marks: list[int] = field(default_factory=list)

    def add(self, name: str, step: int, value: float) -> None:
        """Add a point to a curve."""
        points: Points = getattr(self, name)
        points.append((step, value))
        if len(points) > _MOST_POINTS:
            del points[1:-1:2]

    def mark(self, step: int) -> None:
        """Mark a change of the strokes."""
        if not self.marks or self.marks[-1] != step:
            self.marks.append(step)
            if len(self.marks) > _MOST_POINTS:
                del self.marks[1:-1:2]
