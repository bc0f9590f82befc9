"""Small parts that several docks show."""

from __future__ import annotations

from qtpy.QtWidgets import QProgressBar

__all__ = ["MODEL_FILES", "make_progress_bar"]

MODEL_FILES = "U-Net models (*.unet.safetensors);;All files (*)"
"""What a dialogue offers where a model is chosen."""


def make_progress_bar() -> QProgressBar:
    """Make a thin bar from 0 to 1000, without text, that keeps its place while it is hidden."""
    bar = QProgressBar()
    bar.setRange(0, 1000)
    bar.setTextVisible(False)
    bar.setFixedHeight(8)
    bar.setAccessibleName("Progress")
    policy = bar.sizePolicy()
    policy.setRetainSizeWhenHidden(True)  # nothing jumps when it appears
    bar.setSizePolicy(policy)
    return bar
