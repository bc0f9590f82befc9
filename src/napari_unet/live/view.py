"""What the person looks at: which part is answered first, and what is computed ahead."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping

from napari_unet.data.axes import Box
from napari_unet.live.answers import Answers
from napari_unet.live.images import PaintedImage

__all__ = ["View"]


class View:
    """The part of an image that is visible.

    Attributes
    ----------
    key : hashable
        The image.
    due : bool
        Whether it is to be answered anew.
    """

    def __init__(self) -> None:
        self.due = False
        self.key: Hashable = None
        self._region: Box | None = None
        self._changed: Box | None = None
        self._looked_ahead = self._begun = False

    def look_at(self, key: Hashable, region: Box | None) -> None:
        """Look elsewhere; None: at all of the image."""
        self.key, self._region = key, region
        self.ask()

    def ask(self, changed: Box | None = None) -> None:
        """Answer it anew, first of all around the place that changed; None: its middle."""
        self.due, self._begun, self._changed = True, False, changed
        self._looked_ahead = False

    def find(self, images: Mapping[Hashable, PaintedImage]) -> tuple[PaintedImage, Box] | None:
        """Return the image and the part of it that is visible; None where there is no such image."""
        image = images.get(self.key)
        if image is None:
            return None
        if self._region is not None and len(self._region) != len(image.layout.label_axes):
            return None  # the image was given other axes, and has not been looked at since
        whole = image.layout.bounds(self._region)
        if any(part.stop <= part.start for part in whole):
            return None  # and here it was made smaller
        return image, whole

    def part_at_once(self, answers: Answers, image: PaintedImage, whole: Box) -> Box | None:
        """Return the part that is answered before the features of the rest are computed; None: there is none.

        It is asked for once after each change or move.
        """
        if self._begun:
            return None
        self._begun = True
        return answers.part_at_once(image, whole, self._focus(image, whole))

    def complete(self, answers: Answers, image: PaintedImage, whole: Box) -> Generator[None, None, None]:
        """Compute the features of all of it, a few tiles at a time; then it is to be answered."""
        yield from answers.prepare(image, whole)
        self.due = True

    def look_ahead(
        self, answers: Answers, images: Mapping[Hashable, PaintedImage]
    ) -> Generator[None, None, None] | None:
        """Compute its features while too little is painted for an answer, not of all.

        It is begun once after each change or move, with what is near to the place that changed.
        """
        found = self.find(images)
        if found is None or self._region is None or self._looked_ahead:
            return None
        self._looked_ahead = True
        return (None for _ in answers.prepare(*found, near=self._focus(*found)))

    def _focus(self, image: PaintedImage, whole: Box) -> tuple[float, ...]:
        """Return the place in view that changed last; else its middle."""
        focus = _middle(image.layout.bounds(self._changed or whole))
        inside = all(part.start <= at < part.stop for part, at in zip(whole, focus, strict=True))
        return focus if inside else _middle(whole)


def _middle(box: Box) -> tuple[float, ...]:
    return tuple((part.start + part.stop) / 2 for part in box)
