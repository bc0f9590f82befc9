"""Settings that only the window has."""

from __future__ import annotations

from dataclasses import dataclass

from napari_unet.settings import setting, validate_settings

__all__ = ["WindowConfig"]


@dataclass(frozen=True)
class WindowConfig:
    """How the dock reads layers and uses the computer."""

    device: str = setting("auto", "Device", "'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.")
    threads: int | None = setting(
        None, "Cores", "Cores for training and prediction; auto leaves one to the window.", minimum=1, maximum=1024
    )
    meaning: str = setting(
        "strokes",
        "Labels mean",
        "'strokes': 0 = not painted, 1 = background, 2, 3, ... = classes or objects. 'complete': the same, but what is "
        "not painted is background. 'ground truth': 0 = background, 1, 2, ... = objects or classes.",
        choices=("strokes", "complete", "ground truth"),
    )
    all_images: bool = setting(
        True, "All painted images", "Train on the strokes of all images of this kind in the window, not only this one."
    )
    answers: bool = setting(
        True, "Answer while painting", "Show a result of what is in view at every stroke, also before Train is pressed."
    )
    predict_after: bool = setting(
        True, "Predict the rest", "Predict what is not in view when the training ends, and while you pause."
    )
    start: str = setting(
        "starting weights", "Start from",
        "What a new model begins with. 'starting weights': those that come with napari-unet, trained for strokes. "
        "'nothing': random weights. To start from a model file, open it under Model.",
        choices=("starting weights", "nothing"),
    )  # fmt: skip
    most_in_memory: int = setting(
        200, "To the disk above (Mpx)",
        "Results of more million pixels than this are written to the disk, and shown from there.", minimum=1,
    )  # fmt: skip
    result_folder: str = setting("", "Folder for these", "Where such results are written. Empty: beside the image.")
    join_overlap: float = setting(
        0.1, "Join from overlap",
        "Objects of neighbouring slices are joined where the area that they share is at least this part of the area "
        "that they cover together. A high value cuts off caps; a low one joins what lies upon each other.",
        minimum=0.01, maximum=1.0,
    )  # fmt: skip
    axes: str = setting("", "Axes", "One letter for each axis of the image: any of T, C, Z, Y, X. Empty: guessed.")

    def __post_init__(self) -> None:
        validate_settings(self)
