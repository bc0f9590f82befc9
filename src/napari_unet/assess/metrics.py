"""How well a segmentation agrees with a reference: all metrics of the package under one name.

They need neither PyTorch nor napari. Masks are compared pixel by pixel, label images object by object or as partitions
of the image, and boundaries by what their topology says of splits and merges. What the arrays must hold stands with
each metric; `napari_unet.assess.evaluation` computes a table of them from a result and a reference.

Examples
--------
>>> import napari_unet as nu
>>> nu.metrics.dice([0, 1, 1, 1], [0, 0, 1, 1])
0.8
"""

from __future__ import annotations

from napari_unet.assess.object_metrics import average_precision, seg
from napari_unet.assess.partition_metrics import VariationOfInformation, rand_error, variation_of_information
from napari_unet.assess.pixel_metrics import (
    CHALLENGE_THRESHOLDS,
    auprc,
    dice,
    iou,
    pixel_accuracy,
    pixel_error,
    pixel_f_error,
    sensitivity,
    specificity,
)
from napari_unet.assess.warping import Warping, warp, warping_error

__all__ = [
    "CHALLENGE_THRESHOLDS",
    "VariationOfInformation",
    "Warping",
    "auprc",
    "average_precision",
    "dice",
    "iou",
    "pixel_accuracy",
    "pixel_error",
    "pixel_f_error",
    "rand_error",
    "seg",
    "sensitivity",
    "specificity",
    "variation_of_information",
    "warp",
    "warping_error",
]
