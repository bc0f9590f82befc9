"""Colour pictures for models that read one channel, and grey ones for models that read colours; lazily."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["fit_colours"]

_WEIGHTS = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R BT.601
_BRIGHTNESS = "It is a colour picture and the model reads one channel: its brightness was taken."
_GREY = "It is a grey picture and the model reads colours: it was taken as red, green and blue alike."


def fit_colours(array: Any, axes: str, channels: int) -> tuple[Any, str, str]:
    """Turn colours into brightness, or grey values into colours, where a model's channels ask for it.

    A grey picture that was saved as RGB or RGBA comes out as it was.

    Parameters
    ----------
    array : array-like
        The image; read only where the result is indexed.
    axes : str
        One letter of TCZYXS for each axis, S for red, green, blue and maybe alpha.
    channels : int
        What the model reads.

    Returns
    -------
    array, axes, note : array-like, str, str
        Unchanged and without a note where nothing is to be done.

    Examples
    --------
    >>> picture = np.full((4, 5, 4), 7, np.uint8)
    >>> grey, axes, note = fit_colours(picture, "YXS", 1)
    >>> grey[:2, :2], axes
    (array([[7, 7],
           [7, 7]], dtype=uint8), 'YX')
    """
    if axes.endswith("S") and channels == 1:
        return _Brightness(array), axes[:-1], _BRIGHTNESS
    if channels == 3 and not set(axes) & set("CS"):
        return _Coloured(array), f"{axes}S", _GREY
    return array, axes, ""


class _Brightness:
    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = tuple(array.shape[:-1])
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, index: tuple[Any, ...]) -> npt.NDArray[Any]:
        colours = np.asarray(self._array[(*index, slice(0, 3))])
        grey: npt.NDArray[Any] = np.tensordot(colours.astype(np.float64), _WEIGHTS, axes=1)
        return (np.rint(grey) if self.dtype.kind in "ui" else grey).astype(self.dtype)


class _Coloured:
    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = (*array.shape, 3)
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, index: tuple[Any, ...]) -> npt.NDArray[Any]:
        grey = np.asarray(self._array[index[:-1]])
        return np.broadcast_to(grey[..., np.newaxis], (*grey.shape, 3))[..., index[-1]]
