"""What a session says about itself, as dataclasses and as the JSON file ``session.json`` in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import napari_unet
from napari_unet.data.storage import atomic_path
from napari_unet.errors import SessionError

__all__ = [
    "DOCUMENT_NAME",
    "ImageEntry",
    "SessionDocument",
    "StrokesEntry",
    "mark_closed",
    "read_document",
    "write_document",
]

DOCUMENT_NAME = "session.json"

_FORMAT = "napari-unet session"
_VERSION = 1
_LARGEST_BYTES = 50_000_000
_MOST_AXES = 8


@dataclass(frozen=True)
class ImageEntry:
    """One image of a session; its pixels stay where they are unless there is a copy.

    Attributes
    ----------
    key : str
        Its name inside the session.
    name : str
        What the person calls it.
    shape : tuple of int
        At full resolution, with channels and colours.
    dtype : str
        numpy's name of its values.
    path : str
        The file that it was read from; empty where there is none.
    reader : str
        Which reader read it; empty: any.
    fingerprint : str
        Tells whether another image is the same, see `napari_unet.session.images.fingerprint`; empty: not known.
    copy : str
        Name of the copy in the session's folder ``images``; empty where there is none.
    rgb : bool
        Whether the last axis is colour.
    axes : str
        One letter for each axis, where the person said so.
    place : dict
        Transform of the image: scale, translate, rotate, shear, affine, units, axis labels.
    display : dict
        How it is shown: contrast, colour, opacity.
    """

    key: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    path: str = ""
    reader: str = ""
    fingerprint: str = ""
    copy: str = ""
    rgb: bool = False
    axes: str = ""
    place: dict[str, Any] = field(default_factory=dict)
    display: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StrokesEntry:
    """The strokes of one labels layer.

    Attributes
    ----------
    key : str
        Its name inside the session.
    name : str
        What the person calls it.
    shape : tuple of int
        Shape of the labels.
    dtype : str
        Unsigned integers.
    image : str
        Key of the image that they belong to; empty where it is not known.
    made_for_image : bool
        Whether the program made the layer, in contrast to the person.
    meaning : str
        What the labels mean.
    count : int
        How many strokes were painted.
    packs : tuple of str
        Names of the files in the session's folder ``strokes``, in order, see `napari_unet.session.packs`.
    held : tuple of str
        The same for a mask, uint8: 1 where a correction tool painted, so that later results agree with it.
    place, display : dict
        As those of an image.
    """

    key: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    image: str = ""
    made_for_image: bool = True
    meaning: str = "strokes"
    count: int = 0
    packs: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    place: dict[str, Any] = field(default_factory=dict)
    display: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SessionDocument:
    """All of a session but its arrays and its model.

    Attributes
    ----------
    images, strokes : tuple
        The layers.
    classes : tuple of (str, str)
        Name and colour of each class, background first.
    settings : dict
        JSON values of what was chosen.
    image : str
        Key of the image that was worked on.
    model : str
        Name of the model's file in the session's folder; empty where there is none.
    model_name : str
        What the person calls it.
    created, saved : str
        Local times with their offset, ISO 8601.
    closed : bool
        Whether it came to a good end, so that it need not be offered again.

    Examples
    --------
    >>> document = SessionDocument(strokes=(StrokesEntry("s1", "cells", (4, 5), "uint8", count=3),))
    >>> document.stroke_count
    3
    """

    images: tuple[ImageEntry, ...] = ()
    strokes: tuple[StrokesEntry, ...] = ()
    classes: tuple[tuple[str, str], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    image: str = ""
    model: str = ""
    model_name: str = ""
    created: str = ""
    saved: str = ""
    closed: bool = False

    @property
    def painted(self) -> tuple[StrokesEntry, ...]:
        """The strokes that hold something."""
        return tuple(entry for entry in self.strokes if entry.packs)

    @property
    def stroke_count(self) -> int:
        """How many strokes were painted in all."""
        return sum(entry.count for entry in self.strokes)

    @property
    def is_worth_keeping(self) -> bool:
        """Whether there is something that would be missed."""
        return bool(self.painted or self.model)

    @property
    def was_worked_on(self) -> bool:
        """Whether something was painted or learnt, in contrast to labels and a model that were only opened."""
        return any(entry.count for entry in self.painted) or bool(self.model and not self.model_name)


def write_document(folder: Path, document: SessionDocument) -> SessionDocument:
    """Write the document of a session in one step, with the time, and return it so.

    Raises
    ------
    napari_unet.data.storage.StorageError
        If it can't be written.
    """
    now = datetime.now().astimezone().isoformat(timespec="microseconds")
    document = replace(document, saved=now, created=document.created or now)
    content = {"format": _FORMAT, "version": _VERSION, "package_version": napari_unet.__version__, **asdict(document)}
    text = json.dumps(content, indent=1, allow_nan=False)
    with atomic_path(folder / DOCUMENT_NAME) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return document


def read_document(folder: Path) -> SessionDocument:
    """Read the document of a session and check that it makes sense.

    Raises
    ------
    SessionError
        If the folder holds no session, or one that is damaged or from a newer version; the message names the folder.
    """
    file = folder / DOCUMENT_NAME
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise SessionError(f"{folder} is not a session: its {DOCUMENT_NAME} is far too large.")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise SessionError(f"{folder} is not a session: there is no {DOCUMENT_NAME} in it.") from None
    except OSError as error:
        raise SessionError(f"The session {folder} can't be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise SessionError(f"The session {folder} is damaged: its {DOCUMENT_NAME} can't be read.") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise SessionError(f"{folder} is not a session of napari-unet.")
    version = content.get("version")
    if isinstance(version, int) and version > _VERSION:
        raise SessionError(f"The session {folder} was saved by a newer napari-unet; update napari-unet to open it.")
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SessionError(f"The session {folder} is damaged: its {DOCUMENT_NAME} makes no sense ({error}).") from error


def mark_closed(folder: Path) -> None:
    """Note in a session that it came to its end and need not be offered again.

    Raises
    ------
    UNetError
        If it can't be read or written.
    """
    document = read_document(folder)
    if not document.closed:
        write_document(folder, replace(document, closed=True))


def _parse(content: Mapping[str, Any]) -> SessionDocument:
    values = _checked(SessionDocument, content)
    values["images"] = tuple(_parse_image(entry) for entry in content["images"])
    values["strokes"] = tuple(_parse_strokes(entry) for entry in content["strokes"])
    values["classes"] = tuple((str(name), str(colour)) for name, colour in content["classes"])
    _check_file_name(values["model"])
    return SessionDocument(**values)


def _parse_image(content: Mapping[str, Any]) -> ImageEntry:
    values = _checked(ImageEntry, content)
    values["shape"] = _shape(content["shape"])
    _check_file_name(values.get("copy", ""))
    return ImageEntry(**values)


def _parse_strokes(content: Mapping[str, Any]) -> StrokesEntry:
    values = _checked(StrokesEntry, content)
    values["shape"] = _shape(content["shape"])
    values["packs"], values["held"] = tuple(values.get("packs", ())), tuple(values.get("held", ()))
    if len(values["shape"]) < 2 or _dtype_kind(values["dtype"]) not in "bui":
        raise ValueError(f"labels of {len(values['shape'])} axes and type {values['dtype']}")
    for name in (*values["packs"], *values["held"]):
        _check_file_name(name)
    return StrokesEntry(**values)


def _checked(kind: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known values; each must have the type of the field's default, where it has one."""
    known = {}
    plain = {"str": str, "int": int, "bool": bool, "dict[str, Any]": dict}
    for entry in fields(kind):
        if entry.name in content:
            value = content[entry.name]
            wanted = plain.get(str(entry.type))
            if wanted is not None and not isinstance(value, wanted):
                raise ValueError(f"'{entry.name}' is {value!r}")
            known[entry.name] = value
    return known


def _shape(values: Any) -> tuple[int, ...]:
    shape = tuple(int(n) for n in values)
    if len(shape) > _MOST_AXES or any(n < 0 for n in shape):
        raise ValueError(f"the shape {shape}")
    return shape


def _dtype_kind(name: str) -> str:
    import numpy as np

    return np.dtype(name).kind


def _check_file_name(name: Any) -> None:
    """Refuse names that lead out of the session's folder."""
    if not isinstance(name, str) or name != Path(name).name or "\\" in name or ":" in name:
        raise ValueError(f"a file named {name!r}")
