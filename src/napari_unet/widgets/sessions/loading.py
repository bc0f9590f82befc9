"""Reading a saved session beside the window: its strokes, its images from wherever they are now, and its model."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import npe2
import numpy as np

from napari_unet.errors import SessionError, UNetError
from napari_unet.session.document import ImageEntry, SessionDocument, StrokesEntry, read_document
from napari_unet.session.images import IMAGES_FOLDER, candidate_paths, fingerprint, read_copy
from napari_unet.session.packs import fill_from_packs, pack_paths
from napari_unet.widgets.annotate.label_storage import new_label_array
from napari_unet.widgets.parts.torch_loading import load_torch
from napari_unet.widgets.parts.worker import StopCheck

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = ["FoundImage", "LoadedSession", "OpenImage", "load_session", "read_image_file"]


@dataclass(frozen=True, eq=False)
class OpenImage:
    """An image that is in the window already.

    Attributes
    ----------
    layer_id : str
        Unique id of its layer.
    data : array-like
        At full resolution.
    path : str
        Where it was read from; empty where that is not known.
    """

    layer_id: str
    data: Any
    path: str


@dataclass(frozen=True, eq=False)
class FoundImage:
    """Where the image of a session is now: in the window, or read anew.

    Attributes
    ----------
    layer_id : str
        Unique id of a layer in the window; empty where it was read.
    data : array-like, list of them, or None
        What was read; a list is multiscale.
    path : str
        Where it was read from; empty for a copy.
    changed : bool
        Whether its content is another than it was.
    """

    layer_id: str = ""
    data: Any = None
    path: str = ""
    changed: bool = False


@dataclass(frozen=True, eq=False)
class LoadedSession:
    """A session in memory.

    Attributes
    ----------
    folder : pathlib.Path
        Where it was read from.
    document : SessionDocument
        What it says about itself.
    strokes : list of (StrokesEntry, array)
        All its strokes, those that nothing is painted on left out.
    images : dict of str to FoundImage
        By key; images that were not found are missing.
    model : Model or None
        Its model.
    problems : list of str
        One sentence for each thing that could not be read.
    held : dict of str to array
        By the key of strokes, where correction tools painted: 1 there, 0 elsewhere; strokes without any are missing.
    """

    folder: Path
    document: SessionDocument
    strokes: list[tuple[StrokesEntry, Any]] = field(default_factory=list)
    images: dict[str, FoundImage] = field(default_factory=dict)
    model: Model | None = None
    problems: list[str] = field(default_factory=list)
    held: dict[str, Any] = field(default_factory=dict)


def load_session(
    folder: Path, opened: Sequence[OpenImage], should_stop: StopCheck, *, with_model: bool = True
) -> Generator[LoadedSession, None, None]:
    """Read a session; call it in a worker.

    Parameters
    ----------
    folder : pathlib.Path
        The session.
    opened : sequence of OpenImage
        The images in the window, which are taken where they are the same.
    should_stop : callable
        Asked now and then.
    with_model : bool
        Whether to read the model.

    Yields
    ------
    LoadedSession
        Once, at the end.

    Raises
    ------
    SessionError
        If there is no session, or it is damaged altogether. What can't be read of an otherwise good one is told in
        ``problems``.
    """
    document = read_document(folder)
    loaded = LoadedSession(folder, document)
    for entry in document.painted:
        if should_stop():
            return
        array = new_label_array(entry.shape, entry.dtype)
        loaded.problems.extend(fill_from_packs(array, pack_paths(folder, entry.packs)))
        loaded.strokes.append((entry, array))
        if entry.held:
            loaded.held[entry.key] = new_label_array(entry.shape, np.uint8)
            loaded.problems.extend(fill_from_packs(loaded.held[entry.key], pack_paths(folder, entry.held)))
    for image in document.images:
        if should_stop():
            return
        found = _find_image(image, folder, opened)
        if found is not None:
            loaded.images[image.key] = found
    model = None
    if document.model and with_model and not should_stop():
        load_torch()
        from napari_unet.models.model import Model

        try:
            model = Model.load(folder / document.model)
        except UNetError as error:
            loaded.problems.append(str(error))
    yield replace(loaded, model=model)


def read_image_file(entry: ImageEntry, path: str) -> FoundImage:
    """Read the image of a session from a file; call it in a worker.

    Raises
    ------
    SessionError
        If the file can't be read or holds no image of the right shape; the message names both.
    """
    readable = _read_with(path, entry.reader) or _read_with(path, "")
    if readable is None:
        raise SessionError(f"The image '{entry.name}' can't be read from {path}.")
    fitting = [data for data in readable if _shape(data) == entry.shape]
    if not fitting:
        shapes = " or ".join(_times(_shape(data)) for data in readable) or "no image"
        raise SessionError(
            f"The image '{entry.name}' has {_times(entry.shape)} pixels, but {path} has {shapes}; choose another file."
        )
    same = [data for data in fitting if not entry.fingerprint or _fingerprint(data) == entry.fingerprint]
    return FoundImage(data=(same or fitting)[0], path=path, changed=not same)


def _find_image(entry: ImageEntry, folder: Path, opened: Sequence[OpenImage]) -> FoundImage | None:
    for image in opened:
        if _is_same(entry, image):
            return FoundImage(layer_id=image.layer_id)
    for path in candidate_paths(entry, folder):
        try:
            return read_image_file(entry, path)
        except SessionError:
            continue  # the person is asked where it is, by a message that names it
    if entry.copy:
        try:
            return FoundImage(data=read_copy(folder / IMAGES_FOLDER / entry.copy))
        except SessionError:
            return None
    return None


def _is_same(entry: ImageEntry, image: OpenImage) -> bool:
    if _shape(image.data) != entry.shape or str(np.dtype(image.data.dtype)) != entry.dtype:
        return False
    if entry.fingerprint:
        return _fingerprint(image.data) == entry.fingerprint
    return bool(entry.path) and entry.path == image.path


def _read_with(path: str, reader: str) -> list[Any] | None:
    """Return the images that a reader of napari finds in a file; None if it can't read it."""
    try:
        layers = npe2.read([path], stack=False, plugin_name=reader or None)
    except Exception:  # whatever a reader raises for a file that is not its own
        return None
    found: list[Any] = []
    for layer in layers:
        data, meta, kind = (*layer, {}, "image")[:3] if len(layer) < 3 else layer
        if kind == "image" and data is not None:
            found.extend(_split_channels(data, (meta or {}).get("channel_axis")))
    return found


def _split_channels(data: Any, axis: int | None) -> list[Any]:
    if axis is None:
        return [data]
    levels = list(data) if isinstance(data, list | tuple) else [data]
    axis = axis % levels[0].ndim
    lead = (slice(None),) * axis
    channels = [[level[(*lead, number)] for level in levels] for number in range(levels[0].shape[axis])]
    return [channel if isinstance(data, list | tuple) else channel[0] for channel in channels]


def _full(data: Any) -> Any:
    return data[0] if isinstance(data, list | tuple) else data


def _shape(data: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in _full(data).shape)


def _fingerprint(data: Any) -> str:
    try:
        return fingerprint(_full(data))
    except Exception:  # whatever a lazy array raises where its file is gone
        return ""


def _times(shape: Sequence[int]) -> str:
    return " × ".join(str(n) for n in shape)
