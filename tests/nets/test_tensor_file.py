"""What is stored comes back bit by bit, and any change in between is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from napari_unet.errors import ModelFileError
from napari_unet.nets import tensor_file
from napari_unet.nets.tensor_file import load_tensors, save_tensors


def _tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(4, 6, generator=generator)
    return {
        "float32": base,
        "transposed": base.T,
        "strided": base[::2, 1::2],
        "shared": base,
        "channels_last": torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last),
        "bfloat16": torch.randn(7, generator=generator).to(torch.bfloat16),
        "float16": torch.tensor([float("nan"), float("inf"), -0.0], dtype=torch.float16),
        "int64": torch.tensor(2**40),
        "uint8": torch.arange(256, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "grad": torch.nn.Parameter(torch.ones(2)),
    }


def _bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())


def _small(path: Path) -> Path:
    save_tensors(path, {"weight": torch.arange(5, dtype=torch.float32), "n": torch.tensor(3)}, {"name": "Zellkörper"})
    return path


def _message(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        load_tensors(path)
    text = str(caught.value)
    assert path.name in text
    assert "\n" not in text
    return text


def test_all_kinds_of_tensors_come_back_bit_by_bit(tmp_path: Path) -> None:
    tensors = _tensors()
    metadata = {"text": "µm, 細胞", "list": [1, 2.5, None, True], "nested": {"a": {"b": []}}}
    save_tensors(tmp_path / "x.safetensors", tensors, metadata)
    loaded, read = load_tensors(tmp_path / "x.safetensors")
    assert read == metadata
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype, name
        assert loaded[name].shape == tensor.shape, name
        assert _bits(loaded[name]) == _bits(tensor), name
        assert loaded[name].is_contiguous()
    loaded["float32"].zero_()
    assert torch.equal(loaded["shared"], tensors["shared"]), "loaded tensors share memory"


def test_other_programs_can_read_the_tensors(tmp_path: Path) -> None:
    path = _small(tmp_path / "x.safetensors")
    assert torch.equal(safetensors.torch.load_file(path)["weight"], torch.arange(5, dtype=torch.float32))


def test_every_single_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = _small(tmp_path / "x.safetensors")
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            altered = bytearray(content)
            altered[position] ^= 1 << bit
            path.write_bytes(altered)
            with pytest.raises(ModelFileError):
                load_tensors(path)
    path.write_bytes(content)
    load_tensors(path)


def test_every_truncation_and_an_added_byte_are_noticed(tmp_path: Path) -> None:
    path = _small(tmp_path / "x.safetensors")
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match=r"x\.safetensors"):
            load_tensors(path)
    path.write_bytes(content[:-1])
    assert "truncated" in _message(path)
    path.write_bytes(content + b"\0")
    assert "damaged" in _message(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404 not found</html>", "web page"),
        (b"\n <html></html>", "web page"),
        (b"PK\x03\x04" + bytes(100), "not a napari-unet model"),
        (b"\x80\x02}q\x00.", "not a napari-unet model"),
        (b"\xff" * 7 + b"\x7f{" + bytes(100), "truncated or damaged"),
        ((10**9).to_bytes(8, "little") + b"{}" + bytes(100), "truncated or damaged"),
        ((8).to_bytes(8, "little") + b"{}      ", "another program"),
        ((8).to_bytes(8, "little") + b"{1:2}   ", "damaged"),
        ((8).to_bytes(8, "little") + b"{" + b"\xff" * 7, "damaged"),
        ((100_000).to_bytes(8, "little") + b'{"a":' + b"[" * 99_995, "damaged"),
    ],
)
def test_files_that_are_no_model_are_named_for_what_they_are(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert words in _message(path)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    assert "does not exist" in _message(tmp_path / "gone.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    assert "folder" in _message(tmp_path / "folder.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors_file_is_recognised(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "bert.safetensors"
    safetensors.torch.save_file({"w": torch.zeros(3)}, path, metadata=metadata)
    assert "another program" in _message(path)


def test_file_of_a_newer_version_asks_for_an_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new.safetensors"
    monkeypatch.setattr(tensor_file, "SCHEMA_VERSION", 2)
    _small(path)
    monkeypatch.undo()
    text = _message(path)
    assert "newer" in text
    assert "update napari-unet" in text


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**62]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": ["x", None]},
        {"dtype": "F32"},
        "nothing",
    ],
)
def test_sizes_in_the_header_are_not_trusted(tmp_path: Path, entry: Any) -> None:
    path = _small(tmp_path / "x.safetensors")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    encoded = json.dumps({"__metadata__": header["__metadata__"], "w": entry}).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + bytes(4))
    _message(path)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, torch.zeros(1), b"bytes"])
def test_metadata_that_json_lacks_is_refused_and_the_old_file_kept(tmp_path: Path, value: Any) -> None:
    path = _small(tmp_path / "x.safetensors")
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match=r"x\.safetensors can't be saved"):
        save_tensors(path, {}, {"value": value})
    assert path.read_bytes() == before


@pytest.mark.parametrize("tensor", [torch.eye(2).to_sparse(), torch.zeros(2, device="meta")])
def test_tensor_that_is_not_dense_is_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    with pytest.raises(ModelFileError, match="'w' is not a plain dense one"):
        save_tensors(tmp_path / "x.safetensors", {"w": tensor}, {})
