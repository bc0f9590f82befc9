"""How a model is trained, as plain data that a form, the terminal and a checkpoint share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_unet.settings import setting, validate_settings

__all__ = ["LossName", "TrainConfig"]

LossName = Literal["cross-entropy+dice", "cross-entropy", "focal", "cross-entropy+boundary"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `napari_unet.fit`. The defaults need no change to get a result.

    Without `max_seconds` and `max_steps` the training goes on until the caller stops it. With `max_steps` alone
    the result depends on nothing but the data, the settings and the machine; with `max_seconds` also on its speed.

    Examples
    --------
    >>> TrainConfig(max_seconds=60).task
    'objects'
    """

    max_seconds: float | None = setting(
        None, "Train for (s)", "Stop after this many seconds; empty: until stopped.", minimum=0.0
    )
    max_steps: int | None = setting(
        None, "Steps", "Stop after this many steps; empty: until stopped.", minimum=0, advanced=True
    )
    task: Literal["objects", "classes"] = setting(
        "objects", "Find", "'objects': one label for each object; 'classes': areas of each class.",
        choices=("objects", "classes"),
    )  # fmt: skip
    w0: float = setting(
        10.0, "Border weight", "Extra weight of the gap between two touching objects (w0 of the U-Net paper).",
        minimum=0.0, maximum=1000.0, advanced=True,
    )  # fmt: skip
    sigma: float = setting(
        5.0, "Border width", "How far the border weight reaches, in pixels (sigma of the U-Net paper).",
        minimum=0.1, maximum=1000.0, advanced=True,
    )  # fmt: skip
    seed: int = setting(
        0, "Seed", "Start of all random numbers; the same seed gives the same model.", minimum=0, advanced=True
    )
    precision: Literal["auto", "float32", "float64"] = setting(
        "auto", "Precision", "The format of the numbers that the network computes with.",
        choices={
            "auto": "16 bits where the hardware is faster with them, else 32.",
            "float32": "32 bits throughout.",
            "float64": "64 bits: several times slower; for comparing trainings, which magnify rounding errors.",
        },
        advanced=True,
    )  # fmt: skip
    learning_rate: float | None = setting(
        None, "Learning rate", "Size of the first steps of the optimiser; empty: 0.002, or 0.001 while starting "
        "weights are held on to, or 0.008 where those of a trained model are to be left.",
        minimum=1e-7, maximum=1.0, advanced=True,
    )  # fmt: skip
    hold_on: float = setting(
        1.0, "Hold on to start", "How strongly a training of the starting weights keeps to what these see where "
        "nothing is painted; 0: it may forget it.", minimum=0.0, maximum=1000.0, advanced=True,
    )  # fmt: skip
    place_may_count: bool = setting(
        True, "Place may count", "Let a training of starting weights look at where in the image a pixel lies, and how "
        "far it is enclosed, if that tells strokes better, and ask a small forest if many are still told wrong.",
        advanced=True,
    )  # fmt: skip
    weight_decay: float = setting(
        1e-4, "Weight decay", "Pull of the weights towards zero.", minimum=0.0, maximum=1.0, advanced=True
    )
    batch_size: int | None = setting(
        None, "Batch", "Crops in one step; empty: chosen from device and crop.", minimum=1, advanced=True
    )
    crop: int | None = setting(
        None, "Crop (px)", "Side of a training crop in pixels; empty: chosen from network and images.",
        minimum=8, advanced=True,
    )  # fmt: skip
    loss: LossName = setting(
        "cross-entropy+dice", "Loss", "What the training makes small.",
        choices={
            "cross-entropy+dice": "Every pixel, borders weighted, and the overlap of each class: for most images.",
            "cross-entropy": "Every pixel, borders weighted, as in the U-Net paper.",
            "focal": "Every pixel, but those that are right already count less: for a few difficult places.",
            "cross-entropy+boundary": "Every pixel and the outlines: for exact ones, if they are painted throughout.",
        },
        advanced=True,
    )  # fmt: skip
    dice_weight: float = setting(
        0.5, "Dice share", "Weight of the Dice term beside the cross entropy, with the loss 'cross-entropy+dice'.",
        minimum=0.0, maximum=100.0, advanced=True,
    )  # fmt: skip
    boundary_weight: float = setting(
        0.5, "Outline share", "Weight of the outlines beside cross entropy, with the loss 'cross-entropy+boundary'.",
        minimum=0.0, maximum=100.0, advanced=True,
    )  # fmt: skip
    focal_gamma: float = setting(
        2.0, "Focus", "How much less pixels count that are right already, with the loss 'focal' (gamma of its paper).",
        minimum=0.0, maximum=10.0, advanced=True,
    )  # fmt: skip
    consistency: float = setting(
        0.0, "Learn unpainted", "Also learn from what is not painted: weight of agreeing with the averaged network "
        "anywhere in the images (mean teacher). 0: off; compare the score before you keep it on.",
        minimum=0.0, maximum=1000.0, advanced=True,
    )  # fmt: skip
    freeze_encoder: bool = setting(
        False, "Keep encoder", "Leave the contracting path of a trained model as it is and train the rest: quicker, "
        "for images like those that it knows.", advanced=True,
    )  # fmt: skip
    holdout: float = setting(
        0.1, "Held out", "Share of the strokes that is kept for the score and not trained on.",
        minimum=0.0, maximum=0.9, advanced=True,
    )  # fmt: skip
    validate_every: int = setting(
        20, "Score every", "Steps between two scores on the held-out strokes.", minimum=1, advanced=True
    )
    ema_decay: float = setting(
        0.98, "Averaging", "Decay of the moving average of the weights, which is what is scored and kept.",
        minimum=0.0, maximum=0.99999, advanced=True,
    )  # fmt: skip
    flips: bool = setting(True, "Mirror", "Mirror crops at random.", advanced=True)
    rotation: float = setting(
        180.0, "Rotate (deg)", "Crops are rotated in the plane by up to this angle.", minimum=0.0, maximum=180.0,
        advanced=True,
    )  # fmt: skip
    scaling: float = setting(
        0.2, "Scale", "Crops are magnified or reduced by up to this share.", minimum=0.0, maximum=0.9, advanced=True
    )
    shift: float = setting(
        8.0, "Shift (px)", "Crops are moved by up to this many pixels.", minimum=0.0, maximum=1000.0, advanced=True
    )
    elastic: float = setting(
        10.0, "Elastic (px)", "Standard deviation of the elastic displacements on their coarse grid, in pixels.",
        minimum=0.0, maximum=1000.0, advanced=True,
    )  # fmt: skip
    elastic_grid: int = setting(
        3, "Elastic grid", "Points on a side of the elastic grid.", minimum=2, maximum=64, advanced=True
    )
    grey: float = setting(
        0.2, "Grey values", "How much brightness, contrast and gamma vary.", minimum=0.0, maximum=1.0, advanced=True
    )
    noise: float = setting(
        0.0, "Noise",
        "Half of the crops get Gaussian noise of up to this standard deviation, as a share of the grey range.",
        minimum=0.0, maximum=1.0, advanced=True,
    )  # fmt: skip
    blur: float = setting(
        0.0, "Blur (px)", "Half of the crops are blurred in the plane by up to this standard deviation, in pixels.",
        minimum=0.0, maximum=10.0, advanced=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        validate_settings(self)
