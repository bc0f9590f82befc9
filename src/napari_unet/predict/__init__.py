"""Applying a network to images of any size, and turning probabilities into labels.

The folder and the public function `napari_unet.predict` share one name, so the module is callable and hands the call
on to `napari_unet.predict.tiled.predict`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from napari_unet.predict.tiled import predict

        return predict(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
