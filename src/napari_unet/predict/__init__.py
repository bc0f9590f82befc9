"""Applying a network to images of any size, and turning probabilities into labels.

The folder and the public function `napari_unet.predict` share one name, so the module is callable and hands the call
on to `napari_unet.predict.tiled.predict`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_unet.nets.registry import SegmentationModel
    from napari_unet.predict.config import PredictConfig


class _CallableModule(ModuleType):
    def __call__(
        self, model: SegmentationModel, image: Any, axes: str | None = None, config: PredictConfig | None = None,
        out: Any | None = None,
    ) -> Any:  # fmt: skip
        """Predict the probability of each class for each pixel; see `napari_unet.predict.tiled.predict`."""
        from napari_unet.predict.tiled import predict

        return predict(model, image, axes, config, out)


sys.modules[__name__].__class__ = _CallableModule
