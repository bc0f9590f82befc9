"""How far apart the pixels of an image are, and where they lie: read from one file format, written to another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "MICROMETRES",
    "Calibration",
    "in_micrometres",
    "in_seconds",
    "length_unit",
    "place_in_micrometres",
]

MICROMETRES = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4}
_LENGTHS = {
    "meter": "m", "centimeter": "cm", "millimeter": "mm", "um": "µm", "micron": "µm", "microns": "µm",
    "micrometer": "µm", "nanometer": "nm", "picometer": "pm", "angstrom": "Å", "å": "Å",
}  # fmt: skip
_SECONDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "µs": 1e-6, "us": 1e-6,
    "usec": 1e-6, "microsecond": 1e-6, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0,
    "day": 86400.0,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a file says of the place of its pixels.

    Attributes
    ----------
    spacing : tuple of float or None
        Distance of pixels along the spatial axes (ZYX order) in micrometres; None: the file does not say.
    unit : str
        The unit in which the file gives lengths, and in which results are written: one of `MICROMETRES`.
    affine : numpy.ndarray or None
        (4, 4) float: from the indices (x, y, z, 1) of a pixel to its place in the world in micrometres; for medical
        images to the right, anterior and superior. None: the file does not say.
    interval : float or None
        Seconds from one time point to the next.

    Examples
    --------
    >>> calibration = Calibration.from_sizes({"Y": 500.0, "X": 250.0}, "YX", unit="mm", origin={"X": 1000.0})
    >>> calibration.spacing, calibration.lengths("YX"), calibration.origin("YX")
    ((500.0, 250.0), (0.5, 0.25), (0.0, 1.0))
    """

    spacing: tuple[float, ...] | None = None
    unit: str = "µm"
    affine: npt.NDArray[np.float64] | None = None
    interval: float | None = None

    @classmethod
    def from_sizes(
        cls,
        sizes: Mapping[str, float | None],
        axes: str,
        *,
        unit: str | None = None,
        origin: Mapping[str, float] | None = None,
        interval: float | None = None,
    ) -> Calibration:
        """Make one of sizes and a position by letter, in micrometres; a size that is missing leaves no spacing."""
        known = [sizes.get(letter) for letter in "ZYX" if letter in axes]
        spacing = None if None in known else tuple(size for size in known if size is not None)
        affine = None
        if spacing is not None and origin and any(origin.values()):
            affine = np.diag([*(sizes.get(letter) or 1.0 for letter in "XYZ"), 1.0])
            affine[:3, 3] = [origin.get(letter, 0.0) for letter in "XYZ"]
        return cls(spacing, unit or "µm", affine, interval)

    @classmethod
    def from_affine(cls, affine: npt.ArrayLike, axes: str, unit: str, interval: float | None = None) -> Calibration:
        """Make one of an affine in some unit; the distance of pixels is the length of its columns."""
        matrix = np.array(affine, float)
        matrix[:3] *= MICROMETRES[unit]
        lengths = np.linalg.norm(matrix[:3, :3], axis=0).tolist()
        sizes = {letter: _short(size) if size > 0 else None for letter, size in zip("XYZ", lengths, strict=True)}
        spacing = cls.from_sizes(sizes, axes).spacing
        return cls(spacing, unit, matrix if np.isfinite(matrix).all() else None, interval)

    def lengths(self, axes: str) -> tuple[float, ...] | None:
        """Return the spacing in the file's own unit, if it stands for the spatial axes among `axes`."""
        spatial = sum(letter in "ZYX" for letter in axes)
        if self.spacing is None or len(self.spacing) != spatial:
            return None
        return tuple(_short(step / MICROMETRES[self.unit]) for step in self.spacing)

    def origin(self, axes: str) -> tuple[float, ...] | None:
        """Return the place of the first pixel along the spatial axes (ZYX order) in the file's own unit.

        None if the file does not say, or if the axes are turned or sheared against those of the world.
        """
        if self.affine is None or not np.allclose(self.affine[:3, :3], np.diag(np.diag(self.affine)[:3])):
            return None
        place = dict(zip("XYZ", self.affine[:3, 3].tolist(), strict=True))
        return tuple(_short(place[letter] / MICROMETRES[self.unit]) for letter in "ZYX" if letter in axes)


def length_unit(word: object) -> str | None:
    """Return the usual sign of a unit of length, or None if the word is none.

    Examples
    --------
    >>> length_unit("micrometer"), length_unit("\\u03bcm"), length_unit("pixel")
    ('µm', 'µm', None)
    """
    text = str(word or "").strip().replace("μ", "µ").replace("\\u00B5", "µ")
    if text in MICROMETRES:
        return text
    lower = text.lower().replace("metre", "meter")
    return lower if lower in MICROMETRES else _LENGTHS.get(lower)


def in_micrometres(value: object, unit: object) -> float | None:
    """Convert a distance; None if it is none, or not above zero, or its unit is unknown."""
    length = place_in_micrometres(value, unit)
    return length if length > 0 else None


def place_in_micrometres(value: object, unit: object) -> float:
    """Convert a place, which may lie below zero; 0 if it is none, or its unit is unknown."""
    sign, place = length_unit(unit), _number(value)
    return 0.0 if sign is None or place is None else _short(place * MICROMETRES[sign])


def in_seconds(value: object, unit: object) -> float | None:
    """Convert a time; None if it is none, or not above zero, or its unit is unknown."""
    factor = _SECONDS.get(str(unit or "").strip().lower().replace("μ", "µ"))
    time = _number(value)
    return None if factor is None or time is None or not time > 0 else _short(time * factor)


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _short(value: float) -> float:
    """Leave out the digits that a conversion of units makes up."""
    return float(f"{value:.9g}")
