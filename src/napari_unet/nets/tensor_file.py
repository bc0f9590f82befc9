"""One safetensors file with JSON beside the tensors and a checksum over both.

Models and checkpoints are stored in this form: it holds no code (no pickle), any tool that knows safetensors can
read it, and a single changed bit is noticed when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from napari_unet.data.storage import atomic_path
from napari_unet.errors import ModelFileError

__all__ = ["SCHEMA_VERSION", "load_tensors", "save_tensors"]

SCHEMA_VERSION = 1
_FORMAT = "napari-unet"
_KEYS = {"format", "schema_version", "document", "sha256"}
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON values to one safetensors file, atomically and with a checksum.

    Parameters
    ----------
    path : path-like
        The file; what was there before is replaced in one step or, on failure, kept.
    tensors : mapping of str to torch.Tensor
        Dense tensors of any shape, dtype (bfloat16 included) and device; views and shared memory are stored as
        separate contiguous copies.
    metadata : mapping of str to JSON value
        Anything that JSON can hold: None, bool, int, finite float, str, and lists and dicts of them.

    Raises
    ------
    ModelFileError
        If a tensor or a value of `metadata` can't be stored.
    napari_unet.data.storage.StorageError
        If the file can't be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "weights.safetensors")
    ...     save_tensors(file, {"w": torch.ones(2, 3)}, {"made_by": "me"})
    ...     tensors, metadata = load_tensors(file)
    >>> tensors["w"].shape, metadata
    (torch.Size([2, 3]), {'made_by': 'me'})
    """
    name = Path(path).name
    try:
        document = json.dumps(dict(metadata), allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{name} can't be saved: JSON has no form for its description ({error}).") from None
    stored: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise ModelFileError(f"{name} can't be saved: the tensor {key!r} is not a plain dense one.")
        stored[key] = tensor.detach().to("cpu", memory_format=torch.contiguous_format, copy=True).contiguous()
    header = {
        "format": _FORMAT,
        "schema_version": str(SCHEMA_VERSION),
        "document": document,
        "sha256": _checksum(stored, document, str(SCHEMA_VERSION)),
    }
    try:
        content = safetensors.torch.save(stored, metadata=header)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ModelFileError(f"{name} can't be saved: a tensor has a type that its format lacks ({error}).") from error
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(content)


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a file that `save_tensors` wrote, and make sure that nothing in it has changed since.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    tensors : dict of str to torch.Tensor
        On the CPU, contiguous, writable, each with memory of its own.
    metadata : dict
        The JSON values.

    Raises
    ------
    ModelFileError
        If the file is missing, empty, truncated, altered, from another program or from a newer version.
    """
    content = _read(Path(path).expanduser())
    name = Path(path).name
    header = _header(content, name)
    info = header.get("__metadata__")
    if not isinstance(info, dict) or info.get("format") != _FORMAT:
        raise ModelFileError(f"{name} is a safetensors file of another program, not a napari-unet model.")
    version = info.get("schema_version", "")
    if version.isdecimal() and int(version) > SCHEMA_VERSION:
        raise ModelFileError(
            f"{name} was written by a newer napari-unet (file version {version}, this one reads up to "
            f"{SCHEMA_VERSION}); update napari-unet to open it."
        )
    if set(info) != _KEYS:
        raise ModelFileError(_altered(name))
    try:
        tensors = safetensors.torch.load(content)
        metadata = json.loads(info["document"])
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, RuntimeError, RecursionError) as error:
        raise ModelFileError(_altered(name)) from error
    if info["sha256"] != _checksum(tensors, info["document"], version) or not isinstance(metadata, dict):
        raise ModelFileError(_altered(name))
    return {key: tensor.clone() for key, tensor in tensors.items()}, metadata


def _altered(name: str) -> str:
    return f"{name} is damaged: its content has changed since it was saved; use a backup or copy it again."


def _read(path: Path) -> bytes:
    """Read a whole file after a look at its first bytes, so that a huge foreign file costs nothing."""
    name = path.name
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            start = stream.read(64)
            if not start:
                raise ModelFileError(f"{name} is empty; copy or download the model again.")
            if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                raise ModelFileError(f"{name} is a web page (HTML or XML), not a model; download the model itself.")
            length = int.from_bytes(start[:_LENGTH_BYTES], "little")
            if len(start) <= _LENGTH_BYTES or start[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{":
                raise ModelFileError(f"{name} is not a napari-unet model (no safetensors file), or it is damaged.")
            if length > _LONGEST_HEADER or _LENGTH_BYTES + length > size:
                raise ModelFileError(f"{name} is truncated or damaged; copy or download the model again.")
            return start + stream.read()
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist; check the name of the model file.") from None
    except IsADirectoryError:
        raise ModelFileError(f"{path} is a folder, not a model file.") from None
    except OSError as error:
        raise ModelFileError(f"{path} can't be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise ModelFileError(f"{name} does not fit into the memory of this computer.") from error


def _header(content: bytes, name: str) -> dict[str, Any]:
    """Parse the header and check that the tensors that it announces fill the file exactly."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    body = len(content) - _LENGTH_BYTES - length
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length].decode("utf-8"))
        info = header.get("__metadata__", {})
        if not all(isinstance(value, str) for value in info.values()):
            raise ModelFileError(_altered(name))
        ends = [int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ModelFileError(_altered(name)) from error
    if max(ends, default=0) > body:
        raise ModelFileError(f"{name} is truncated: it ends too early; copy or download the model again.")
    if max(ends, default=0) < body:
        raise ModelFileError(_altered(name))
    parsed: dict[str, Any] = header
    return parsed


def _checksum(tensors: Mapping[str, torch.Tensor], document: str, version: str) -> str:
    """Hash names, dtypes, shapes and bytes of the tensors, and the JSON; the order in the file plays no part."""
    digest = hashlib.sha256()
    for text in (_FORMAT, version, document):
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    for key in sorted(tensors):
        tensor = tensors[key]
        entry = json.dumps([key, str(tensor.dtype), list(tensor.shape)]).encode()
        digest.update(len(entry).to_bytes(8, "little") + entry)
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
