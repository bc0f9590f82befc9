"""Images of a session: recognised by little, found where they may have gone, copied where they have no file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_unet.data.storage import StorageError
from napari_unet.errors import SessionError
from napari_unet.session import images as images_module
from napari_unet.session.document import ImageEntry
from napari_unet.session.images import candidate_paths, copy_image, fingerprint, read_copy


@pytest.mark.parametrize("shape", [(5,), (1, 1), (200, 300), (200, 300, 3), (4, 200, 300), (2, 3, 40, 50)])
def test_the_same_image_has_the_same_fingerprint(shape: Any, rng: np.random.Generator) -> None:
    image = rng.integers(0, 255, shape, np.uint8)
    if image.ndim < 2:
        image = image[None]
    assert fingerprint(image) == fingerprint(np.asfortranarray(image)) == fingerprint(da.from_array(image, chunks=37))
    others = [image.astype(np.uint16), image[..., :-1] if image.shape[-1] > 1 else image + 1, image ^ 1]
    assert len({fingerprint(other) for other in [image, *others]}) == 4


def test_only_little_is_read() -> None:
    read = []

    def block(block_info: Any = None) -> np.ndarray:
        read.append(block_info[None]["chunk-location"])
        return np.ones((1, 1000, 1000), np.float32)

    image = da.map_blocks(
        block, chunks=((1,) * 9, (1000,) * 9, (1000,) * 9), dtype=np.float32, meta=np.zeros((0, 0, 0))
    )
    fingerprint(image)
    assert len(set(read)) <= 36


def test_a_file_is_looked_for_where_it_was_and_beside_the_session(tmp_path: Path) -> None:
    session = tmp_path / "copied" / "a session"
    session.mkdir(parents=True)
    entry = ImageEntry("i", "a", (2, 2), "uint8", path="C:\\Users\\me\\cells.tif")
    assert candidate_paths(entry, session) == []
    beside = tmp_path / "copied" / "cells.tif"
    beside.touch()
    assert candidate_paths(entry, session) == [str(beside)]
    entry = ImageEntry("i", "a", (2, 2), "uint8", path=str(tmp_path / "cells.tif"))
    (tmp_path / "cells.tif").touch()
    assert candidate_paths(entry, session) == [str(tmp_path / "cells.tif"), str(beside)]
    assert candidate_paths(ImageEntry("i", "a", (2, 2), "uint8"), session) == []
    web = ImageEntry("i", "a", (2, 2), "uint8", path="https://example.org/a.zarr")
    assert candidate_paths(web, session) == [web.path]


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bool", ">u2"])
def test_a_copy_is_the_image(
    tmp_path: Path, dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images_module, "_COPY_BYTES", 10_000)
    image = rng.integers(0, 2, (17, 20, 100)).astype(dtype)
    for given in (image, np.asfortranarray(image), da.from_array(image, chunks=50)):
        copy_image(given, tmp_path / "images" / "a.npy")
        found = read_copy(tmp_path / "images" / "a.npy")
        assert found.dtype == image.dtype
        np.testing.assert_array_equal(found, image)


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        copy_image(np.zeros((9, 9)), tmp_path / "file" / "a.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_damaged_copy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"a\.npy"):
        read_copy(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(SessionError, match=r"a\.npy"):
        read_copy(tmp_path / "a.npy")
