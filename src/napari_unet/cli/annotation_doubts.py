"""What `train` says of annotations that most likely mean something else than they are read as."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_unet.data.object_masks import numbers_in_one_piece, takes_object_for_background
from napari_unet.data.sample import Sample

__all__ = ["doubt_annotations"]


def doubt_annotations(
    paths: Sequence[Path], samples: Sequence[Sample], task: str, *, zero_is_background: bool, named: bool
) -> str:
    """Say in a sentence what is doubtful, and which option to use; empty where nothing is.

    Parameters
    ----------
    paths : sequence of Path
        The annotation files.
    samples : sequence of Sample
        What was read from them.
    task : {"objects", "classes"}
        What their numbers are taken for.
    zero_is_background : bool
        Whether 0 was taken for background.
    named : bool
        Whether names were given for the classes.
    """
    for path, sample in zip(paths, samples, strict=True):
        labels = np.asarray(sample.annotation)
        if task == "classes":
            count = 0 if named else numbers_in_one_piece(labels, 2 if zero_is_background else 1)
            if count:
                also = "" if zero_is_background else ", with --labels-are ground-truth where 0 is background"
                return (
                    f"{path.name} holds {count} numbers, nearly each in one piece, as the ids of single objects are, "
                    f"but each is learnt as a class of its own: if they are objects, use --task objects{also}; if "
                    "they are classes, name them with --classes."
                )
        elif not zero_is_background and takes_object_for_background(labels):
            return (
                f"{path.name} looks like a mask of single objects, but its number 1 is learnt as background, and 0 as "
                "not painted: if 0 is background, use --labels-are ground-truth."
            )
    return ""
