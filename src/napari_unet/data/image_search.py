"""Which images files, folders and patterns stand for."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from napari_unet.data.dicom import is_dicom_file, list_series
from napari_unet.data.storage import is_zarr_folder, restore_interrupted
from napari_unet.errors import FileFormatError

__all__ = ["KINDS", "READABLE", "ending_of", "find_images", "split_key", "stem_of"]

READABLE = (
    ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".npy", ".npz", ".zarr", ".nii", ".nii.gz", ".dcm", ".dicom", ".ima",
)  # fmt: skip
KINDS = "TIFF, PNG, JPEG, NPY, NPZ, zarr, NIfTI and DICOM"
_INSIDE = re.compile(r"(?P<file>.*\.npz)::?(?P<key>.+)|(?P<folder>.+)::(?P<series>[0-9.]+)", re.IGNORECASE | re.DOTALL)


def ending_of(path: Path) -> str:
    """Return the ending of a name in small letters; that of a compressed file has two parts.

    Examples
    --------
    >>> ending_of(Path("head.nii.gz")), ending_of(Path("a.b.TIF"))
    ('.nii.gz', '.tif')
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return "".join(suffixes) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def stem_of(path: Path) -> str:
    """Return the name of an image without its ending; for a part of a file, with the name of the part.

    Examples
    --------
    >>> stem_of(Path("cells.ome.tif")), stem_of(Path("set.npz:a")), stem_of(Path("head.nii.gz"))
    ('cells', 'set_a', 'head')
    """
    file, key = split_key(path)
    name = file.name
    ending = ending_of(file)
    if ending in READABLE:
        name = name[: -len(ending)].removesuffix(".ome")
    return name if key is None else f"{name}_{key}"


def split_key(path: Path) -> tuple[Path, str | None]:
    """Take ``file.npz:name`` (or ``folder::series``, for DICOM) apart; the second part is None where there is none."""
    match = _INSIDE.fullmatch(str(path))
    if match is None or path.exists():
        return path, None
    return Path(match["file"] or match["folder"]), match["key"] or match["series"]


def find_images(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the images that files, folders and patterns stand for.

    Parameters
    ----------
    patterns : iterable of path-like
        Files, ``file.npz:name``, folders (their images, not those of folders in them; a zarr and a DICOM series count
        as one image) and patterns with ``*``, ``?``, ``[...]`` and ``**``.

    Returns
    -------
    list of pathlib.Path
        In the order of the patterns, within each in natural order (``cell2`` before ``cell10``), each once. Of
        several DICOM series in a folder each is given as ``folder::UID``.

    Raises
    ------
    FileFormatError
        If a pattern stands for nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        found |= dict.fromkeys(_matches(Path(pattern).expanduser()))
    return list(found)


def _matches(pattern: Path) -> list[Path]:
    restore_interrupted(pattern)
    if pattern.is_dir() and not is_zarr_folder(pattern):
        images = _dicom_series(pattern)
        images += [image for entry in pattern.iterdir() for image in _images_at(entry, inside=bool(images))]
        if not images:
            raise FileFormatError(f"The folder {pattern} holds no image that can be read ({KINDS}).")
    elif split_key(pattern)[0].exists():
        return [pattern]
    elif glob.has_magic(str(pattern)):
        paths = map(Path, glob.glob(str(pattern), recursive=True))
        images = [image for path in paths for image in _images_at(path)]
        if not images:
            raise FileFormatError(f"No image matches {pattern}; check the folder and the pattern.")
    else:
        raise FileFormatError(f"{pattern} does not exist; check the name.")
    return sorted(images, key=_natural_order)


def _images_at(path: Path, *, inside: bool = False) -> list[Path]:
    """List the images that one entry of a folder is; `inside` a DICOM series, its slices are none of their own."""
    if path.name.startswith("."):
        return []
    if path.is_dir():
        return [path] if is_zarr_folder(path) else _dicom_series(path)
    is_slice = inside and is_dicom_file(path)
    return [path] if ending_of(path) in READABLE and not is_slice else []


def _dicom_series(folder: Path) -> list[Path]:
    try:
        series = list_series(folder)
    except PermissionError:
        return []
    return [folder] if len(series) == 1 else [Path(f"{folder}::{uid}") for uid in series]


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]
