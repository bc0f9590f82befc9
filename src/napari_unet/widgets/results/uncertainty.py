"""Where a worker writes how uncertain the model is: with each tile that it predicts, or in a pass of its own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.widgets.results.arrays import ResultArray
from napari_unet.widgets.results.record import PredictionRecord

if TYPE_CHECKING:
    from napari_unet.predict.uncertainty import Measure

__all__ = ["UncertaintyTarget"]


@dataclass(frozen=True, eq=False)
class UncertaintyTarget:
    """An array for the uncertainty of each pixel.

    Attributes
    ----------
    measure : {"entropy", "disagreement"}
        See `napari_unet.predict.uncertainty`.
    array : ResultArray
        Where it goes, float32.
    record : PredictionRecord
        What is done of it already.
    """

    measure: Measure
    array: ResultArray
    record: PredictionRecord = field(default_factory=PredictionRecord)

    @property
    def comes_with_tiles(self) -> bool:
        """Whether the probabilities of a tile tell it, so that it costs nothing beside them."""
        return self.measure == "entropy"

    def begin(self, key: Hashable, layout: ImageLayout, cell: int) -> None:
        """Go on with what belongs to a prediction, or forget it; see `PredictionRecord.begin`."""
        self.record.begin((key, self.measure), layout, cell)

    def take(self, box: Box, probabilities: npt.NDArray[Any]) -> None:
        """Write what the probabilities (class, \\*box) of a tile tell: their entropy, if that is wanted."""
        if self.comes_with_tiles:
            from napari_unet.predict.uncertainty import entropy

            self.write(box, entropy(probabilities))

    def write(self, box: Box, values: npt.NDArray[Any]) -> None:
        """Write values (\\*box), and note that they are there."""
        if self.array.write(box, values) and self.record.key is not None and self.record.layout is not None:
            self.record.add(*self.record.layout.split_box(box))

    def outdate(self) -> None:
        """Note that what is there is of other models, too."""
        self.record.key = None
