"""What is compared when a result is scored against a reference, and how the numbers in both are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_unet.settings import setting, validate_settings

__all__ = ["EvaluationConfig"]

_ZERO = {
    "background": "0 = background; 1, 2, ... = one number for each object or class",
    "unlabelled": "0 = not labelled, left out; 1 = background; 2, 3, ... = one number for each object or class",
}


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of an evaluation; nothing of it is guessed from the numbers.

    Examples
    --------
    >>> EvaluationConfig(task="classes").predicted_background
    1
    """

    task: Literal["objects", "classes"] = setting(
        "objects", "Compare", "What the numbers are: one for each object, or the same for the same class in both.",
        choices={"objects": "one number for each object; the numbers need not agree",
                 "classes": "the same number for the same class in both"},
    )  # fmt: skip
    reference_zero: Literal["background", "unlabelled"] = setting(
        "background", "0 in the reference is",
        "What 0 means in the reference: 'background', or 'unlabelled', which is left out (1 is then background).",
        choices=_ZERO,
    )  # fmt: skip
    predicted_zero: Literal["usual", "background", "unlabelled"] = setting(
        "usual", "0 in the result is",
        "The same for the result; 'usual': as this program writes it, unlabelled for classes, otherwise background.",
        choices={"usual": "as this program writes results: unlabelled for classes, otherwise background"} | _ZERO,
    )  # fmt: skip
    masks: Literal["none", "reference", "result", "both"] = setting(
        "none", "Masks",
        "Which have one number for all that is not background: their connected pieces are taken as the objects.",
        choices={"none": "the numbers are taken as they are",
                 "reference": "in the reference each connected piece becomes an object, or all of them the first class",
                 "result": "the same in the result",
                 "both": "the same in both"},
    )  # fmt: skip
    ndim: Literal[2, 3] = setting(
        2, "Dimensions", "How a stack is compared: 2, slice by slice, or 3, each volume as one.",
        choices={2: "slice by slice", 3: "volume by volume"},
    )  # fmt: skip
    warping: bool = setting(
        False, "Warping error", "Compute the warping error, too; it takes some seconds for a large image."
    )

    def __post_init__(self) -> None:
        validate_settings(self)

    @property
    def reference_background(self) -> int:
        """The number of background in the reference; if it is 1, 0 is not labelled."""
        return int(self.reference_zero == "unlabelled")

    @property
    def predicted_background(self) -> int:
        """The number of background in the result; if it is 1, 0 is not labelled."""
        if self.predicted_zero == "usual":
            return int(self.task == "classes" and self.masks not in ("result", "both"))
        return int(self.predicted_zero == "unlabelled")
