"""napari-unet: paint a few strokes, train a U-Net on them, and get the whole image segmented.

The names below are the public interface. They are loaded when first used, so that importing the package
costs nothing and needs neither PyTorch nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Model": "napari_unet.models.model",
    "ModelConfig": "napari_unet.nets.config",
    "PredictConfig": "napari_unet.predict.config",
    "Sample": "napari_unet.data.sample",
    "TrainConfig": "napari_unet.learn.config",
    "UNetError": "napari_unet.errors",
    "adapt": "napari_unet.models.adapt",
    "border_weights": "napari_unet.learn.border_weights",
    "fit": "napari_unet.learn.fit",
    "predict": "napari_unet.predict.tiled",
    "predict_tiles": "napari_unet.predict.tiled",
    "predict_to_store": "napari_unet.predict.store",
    "segment": "napari_unet.predict.segment",
    "transfer": "napari_unet.models.transfer",
}
_MODULES = {"metrics": "napari_unet.assess.metrics"}

__version__ = "0.1.0"
__all__ = sorted([*_HOME, *_MODULES, "__version__"])

if TYPE_CHECKING:
    from napari_unet.assess import metrics as metrics
    from napari_unet.data.sample import Sample as Sample
    from napari_unet.errors import UNetError as UNetError
    from napari_unet.learn.border_weights import border_weights as border_weights
    from napari_unet.learn.config import TrainConfig as TrainConfig
    from napari_unet.learn.fit import fit as fit
    from napari_unet.models.adapt import adapt as adapt
    from napari_unet.models.model import Model as Model
    from napari_unet.models.transfer import transfer as transfer
    from napari_unet.nets.config import ModelConfig as ModelConfig
    from napari_unet.predict.config import PredictConfig as PredictConfig
    from napari_unet.predict.segment import segment as segment
    from napari_unet.predict.store import predict_to_store as predict_to_store
    from napari_unet.predict.tiled import predict as predict
    from napari_unet.predict.tiled import predict_tiles as predict_tiles


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
