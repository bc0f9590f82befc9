"""The strokes of a training: crops to learn from, and boxes to be scored on and to solve last layers from."""

from __future__ import annotations

from dataclasses import dataclass

from napari_unet.data.crops import CropSampler, tell_place
from napari_unet.learn.crop_plan import CropPlan
from napari_unet.learn.distributed import ALONE, Processes
from napari_unet.learn.holdout import Holdout
from napari_unet.learn.painted_boxes import PaintedBox, boxes_to_look_at, cover_with_boxes
from napari_unet.learn.scoring import Scorer
from napari_unet.nets.device import Device

__all__ = ["TrainingStrokes"]


@dataclass(eq=False)
class TrainingStrokes:
    """Makes crops and boxes, which tell where in the image they are from if networks are to know it.

    Attributes
    ----------
    split : Holdout
        What is trained on and what is held out.
    classes : int
        Number of classes.
    seed : int
        Start of the random numbers.
    device : Device
        Where networks are scored.
    processes : Processes
        Who shares the work.
    crops_tell, boxes_tell : int
        How many channels of crops, and of the boxes that are scored, tell where a pixel lies.
    """

    split: Holdout
    classes: int
    seed: int
    device: Device
    processes: Processes = ALONE
    crops_tell: int = 0
    boxes_tell: int = 0

    def sampler(self, plan: CropPlan) -> CropSampler:
        """Return what draws crops to train on."""
        frames = tell_place(self.split.train, self.crops_tell)
        return CropSampler(frames, plan.crop, plan.reach, self.seed)

    def scorer(self, plan: CropPlan) -> Scorer | None:
        """Return what scores networks on the strokes that are held out; None: there are none."""
        if not self.split.score:
            return None
        frames = tell_place(self.split.score, self.boxes_tell)
        return Scorer(frames, plan.crop, plan.reach, self.classes, self.device, self.processes)

    def boxes(self, plan: CropPlan, *, with_held: bool = False) -> list[PaintedBox]:
        """Return boxes round the strokes to train on, and round those that are held out, too, if these are wanted."""
        parts = (self.split.train, self.split.score) if with_held else (self.split.train,)
        return [box for part in parts for box in cover_with_boxes(part, plan.crop, plan.reach)]

    def boxes_around(self, plan: CropPlan) -> list[PaintedBox]:
        """Return boxes of what is around the strokes, painted or not."""
        return boxes_to_look_at(self.split.train, plan.crop, plan.reach)
