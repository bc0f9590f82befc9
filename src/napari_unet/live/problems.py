"""What a person is told when something fails while it learns."""

from __future__ import annotations

from napari_unet.errors import UNetError, is_out_of_memory
from napari_unet.live.events import Part, Problem

__all__ = ["problem_of"]

_MEMORY = "The memory was not enough; close other programs or look at a smaller part of the image."
_MEMORY_FOR_REST = "The memory was not enough to predict what is not in view; close other programs."
_WORDS: dict[Part, str] = {
    "strokes": "What is painted could not be read{why}; paint on to try it again.",
    "answer": "The result could not be brought up to date{why}; paint on to try it again.",
    "training": "The training failed{why}; it begins again with the next stroke.",
    "rest": "What is not in view could not be predicted{why}; it is tried again after the next stroke.",
    "uncertainty": "The uncertainty could not be measured{why}; it is tried again after the next stroke.",
    "model": "The model could not be handed over{why}; press Train and Stop to try it again.",
}


def problem_of(error: Exception, during: Part, step: int, change: int) -> Problem:
    """Tell of an error in words for the person.

    Parameters
    ----------
    error : Exception
        Errors of this package say it themselves.
    during : {"strokes", "answer", "training", "rest", "uncertainty", "model"}
        What failed.
    step, change : int
        See `napari_unet.live.events.LiveEvent`.

    Examples
    --------
    >>> problem_of(KeyError("conv"), "training", 3, 1).message
    'The training failed (KeyError); it begins again with the next stroke.'
    """
    if isinstance(error, UNetError):
        words = str(error)
    elif is_out_of_memory(error):
        words = _MEMORY_FOR_REST if during == "rest" else _MEMORY
        error = error.with_traceback(None)  # whose frames hold the arrays that were too many
    else:
        words = _WORDS[during].format(why=f" ({type(error).__name__})")
    return Problem(step, change, during, words, error)
