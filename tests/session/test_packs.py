"""Packs of tiles: what was written comes back, and damage is told."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unet.errors import SessionError
from napari_unet.session.packs import fill_from_packs, merge_packs, packs_to_merge, read_pack, write_pack
from napari_unet.session.tiles import TILE, TileWatch


def write_history(folder: Path, rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[Path]]:
    """Change labels again and again, with a pack for each time."""
    labels = np.zeros((2, 600, 1100), np.uint16)
    watch, paths = TileWatch(labels), []
    for number in range(count):
        labels[rng.integers(2), : rng.integers(1, 600), rng.integers(1100) :] = number % 7
        path = folder / f"{number}.npz"
        if write_pack(path, watch.look()):
            paths.append(path)
        watch.commit()
    return labels, paths


def test_what_was_written_comes_back(tmp_path: Path, rng: np.random.Generator) -> None:
    labels, paths = write_history(tmp_path, rng, 10)
    found = np.zeros_like(labels)
    assert fill_from_packs(found, paths) == []
    np.testing.assert_array_equal(found, labels)


def test_a_pack_is_readable_with_numpy_alone(tmp_path: Path) -> None:
    tile = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    assert write_pack(tmp_path / "a.npz", [((5, 0, 512), tile)]) == 1
    with np.load(tmp_path / "a.npz") as archive:
        assert archive.files == ["5_0_512"]
        np.testing.assert_array_equal(archive["5_0_512"], tile)


def test_nothing_to_write_makes_no_file(tmp_path: Path) -> None:
    assert write_pack(tmp_path / "strokes" / "a.npz", []) == 0
    assert list(tmp_path.iterdir()) == []


def test_merged_packs_hold_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    labels, paths = write_history(tmp_path, rng, 12)
    target = tmp_path / "merged.npz"
    assert merge_packs(target, paths[4:], 3, labels.dtype, lambda: False)
    found = np.zeros_like(labels)
    assert fill_from_packs(found, [*paths[:4], target]) == []
    np.testing.assert_array_equal(found, labels)
    with zipfile.ZipFile(target) as pack:
        assert len(set(pack.namelist())) == len(pack.namelist())
    assert not merge_packs(tmp_path / "stopped.npz", paths, 3, labels.dtype, lambda: True)
    assert not (tmp_path / "stopped.npz").exists()


def test_large_packs_are_seldom_rewritten() -> None:
    rewritten, sizes = 0, []
    for _ in range(1000):
        sizes.append(1)
        count = packs_to_merge(sizes)
        if count:
            merged = sum(sizes[-count:])
            rewritten += merged
            sizes[-count:] = [merged]
    assert len(sizes) < 40
    assert rewritten < 1000 * 12


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "empty", "text"])
def test_a_damaged_pack_is_named_and_the_others_are_read(tmp_path: Path, damage: str, rng: np.random.Generator) -> None:
    tiles = {name: rng.integers(1, 9, (64, 64)).astype(np.uint8) for name in "ab"}
    write_pack(tmp_path / "a.npz", [((0, 0), tiles["a"])])
    write_pack(tmp_path / "b.npz", [((64, 0), tiles["b"])])
    path = tmp_path / "a.npz"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
    else:
        path.write_bytes({"truncated": content[:-40], "empty": b"", "text": b"<html>"}[damage])
    found = np.zeros((128, 64), np.uint8)
    (problem,) = fill_from_packs(found, [path, tmp_path / "b.npz"])
    assert "a.npz" in problem
    np.testing.assert_array_equal(found[64:], tiles["b"])
    assert not found[:64].any()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("../x.npy", np.zeros((2, 2), np.uint8)),
        ("0_0.npy", np.zeros((2 * TILE, TILE), np.uint8)),
        ("0_0.npy", np.zeros((2, 2), np.float32)),
        ("0_0_0.npy", np.zeros((1, 2, 2), np.uint8)),
        ("99_0.npy", np.zeros((2, 2), np.uint8)),
    ],
)
def test_a_pack_with_something_else_in_it_is_refused(tmp_path: Path, name: str, array: Any) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as pack, pack.open(name, "w") as stream:
        np.lib.format.write_array(stream, array)
    labels = np.zeros((100, 100), np.uint8)
    (problem,) = fill_from_packs(labels, [tmp_path / "a.npz"])
    assert "a.npz" in problem


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as pack, pack.open("0_0.npy", "w") as stream:
        np.lib.format.write_array(stream, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(SessionError, match="damaged"):
        list(read_pack(tmp_path / "a.npz", 2, np.dtype(np.uint8)))
