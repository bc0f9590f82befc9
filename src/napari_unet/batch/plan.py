"""Where the result of each image goes: its folder, its name and its format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_unet.data.image_search import ending_of, split_key, stem_of
from napari_unet.data.storage import is_zarr_folder
from napari_unet.errors import InputError

__all__ = ["FORMATS", "BatchConfig", "Target", "plan_targets"]

FORMATS = ("source", "tif", "png", "npy", "zarr", "nii", "nii.gz")
_PROBABILITIES = "_probabilities"
_LIKE_SOURCE = {
    ".tif": ".tif", ".tiff": ".tif", ".png": ".png", ".jpg": ".png", ".jpeg": ".png", ".npy": ".npy", ".npz": ".tif",
    ".zarr": ".zarr", ".nii": ".nii", ".nii.gz": ".nii.gz",
}  # fmt: skip


@dataclass(frozen=True)
class BatchConfig:
    """What a batch writes, and how.

    Attributes
    ----------
    folder : Path
        Where the results go; it is made if it is missing.
    format : {"source", "tif", "png", "npy", "zarr", "nii", "nii.gz"}
        Format of the results; ``"source"``: that of each image (JPEG becomes PNG, DICOM becomes NIfTI).
    suffix : str
        What is put behind the name of the image.
    probabilities : bool
        Whether the probabilities are written, too.
    existing : {"keep", "resume", "overwrite"}
        What is done where a result is there already. ``"keep"``: it stays. ``"resume"``: it stays if it was made by
        the same model with the same settings from the same image; one of another model is made again. Either way, a
        file that was not made by a batch, or was changed since, stays. ``"overwrite"``: it is made again.
    task : {"objects", "classes"} or None
        What to find; None: what the model was trained for.
    axes : str or None
        Axes of the images where they are not as the files say.
    stitch : float or None
        Intersection over union from which on objects of neighbouring planes are one; see `napari_unet.segment`.
    """

    folder: Path
    format: str = "source"
    suffix: str = "_labels"
    probabilities: bool = False
    existing: Literal["keep", "resume", "overwrite"] = "keep"
    task: str | None = None
    axes: str | None = None
    stitch: float | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(f"Expected the format to be one of {', '.join(FORMATS)}, but got {self.format!r}.")


@dataclass(frozen=True)
class Target:
    """Where the result of one image goes.

    Attributes
    ----------
    image : Path
        The image.
    labels : Path
        The label image.
    probabilities : Path or None
        The probabilities, where they are wanted.
    """

    image: Path
    labels: Path
    probabilities: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are written."""
        return (self.labels,) if self.probabilities is None else (self.labels, self.probabilities)


def plan_targets(images: Sequence[Path], config: BatchConfig) -> list[Target]:
    """Give each image a result of its own.

    Where names clash (``a.png`` and ``a.tif``, or ``w1.tif`` in two folders), the ending and then the folders of the
    image become part of the result's name.

    Raises
    ------
    InputError
        If a result would overwrite an image.

    Examples
    --------
    >>> images = [Path("a.png"), Path("a.tif"), Path("p1/w.tif"), Path("p2/w.tif")]
    >>> [target.labels.name for target in plan_targets(images, BatchConfig(Path("out"), format="tif"))]
    ['a_png_labels.tif', 'a_tif_labels.tif', 'p1_w_labels.tif', 'p2_w_labels.tif']
    """
    endings = [_ending(image, config.format) for image in images]
    keys = _distinct_names(images, endings)
    sources = {_key(image) for image in images}
    targets = []
    for image, ending, name in zip(images, endings, keys, strict=True):
        labels = config.folder / f"{name}{config.suffix}{ending}"
        extra = config.folder / f"{name}{_PROBABILITIES}{'.tif' if ending == '.png' else ending}"
        target = Target(image, labels, extra if config.probabilities else None)
        for file in target.files:
            if _key(file) in sources:
                raise InputError(f"The result of {image.name} would overwrite the image {file}; choose another folder.")
        targets.append(target)
    return targets


def _ending(image: Path, wanted: str) -> str:
    if wanted != "source":
        return f".{wanted}"
    file, _ = split_key(image)
    if file.is_dir():
        return ".zarr" if is_zarr_folder(file) else ".nii.gz"
    return _LIKE_SOURCE.get(ending_of(file), ".nii.gz")


def _key(path: Path) -> str:
    """Return what two paths of one file have in common, also where small and capital letters are the same."""
    return str(path.absolute()).casefold()


def _distinct_names(images: Sequence[Path], endings: Sequence[str]) -> list[str]:
    """Make names that differ from each other, for results with these endings."""
    twice = [image for image, count in Counter(map(_key, images)).items() if count > 1]
    if twice:
        raise InputError(f"The image {twice[0]} is given twice; give it once.")
    names = [stem_of(image) for image in images]
    for group in _clashes(names, endings):
        kinds = [ending_of(split_key(images[place])[0]).replace(".", "_") for place in group]
        if len(set(kinds)) > 1:
            for place, kind in zip(group, kinds, strict=True):
                names[place] += kind
    folders = [[parent.name for parent in image.absolute().parents] for image in images]
    for depth in range(max(map(len, folders), default=0)):
        for group in _clashes(names, endings):
            if len({tuple(folders[place]) for place in group}) > 1:
                for place in group:
                    names[place] = "_".join([*folders[place][depth : depth + 1], names[place]])
    while groups := _clashes(names, endings):
        for group in groups:
            for number, place in enumerate(group[1:], start=2):
                names[place] += f"_{number}"
    return names


def _clashes(names: Sequence[str], endings: Sequence[str]) -> list[list[int]]:
    """Return the places of those that would be one file, in groups."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, (name, ending) in enumerate(zip(names, endings, strict=True)):
        groups.setdefault((name.casefold(), ending), []).append(place)
    return [group for group in groups.values() if len(group) > 1]
