"""Where correction tools painted is kept with the strokes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unet.session.document import DOCUMENT_NAME, read_document
from napari_unet.session.packs import fill_from_packs, pack_paths
from napari_unet.session.state import held_key
from napari_unet.session.writer import SessionWriter

KEY = held_key("s1")


def held_on_disk(folder: Path) -> np.ndarray:
    (entry,) = read_document(folder).strokes
    mask = np.zeros(entry.shape, np.uint8)
    assert fill_from_packs(mask, pack_paths(folder, entry.held)) == []
    return mask


@pytest.mark.parametrize("shape", [(600, 700), (3, 40, 530)])
def test_masks_come_back_exactly_through_many_saves_and_a_tidying(
    tmp_path: Path, state_of: Any, on_disk: Any, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    labels, mask = rng.integers(0, 5, shape).astype(np.uint16), np.zeros(shape, np.uint8)
    writer = SessionWriter(tmp_path)
    state = state_of({"s1": labels})
    writer.save(state)
    assert read_document(tmp_path).strokes[0].held == ()
    state = type(state)(state.document, {"s1": labels, KEY: mask})
    writer.save(state, {KEY: None})
    for _ in range(20):
        corner = [int(rng.integers(0, n)) for n in shape]
        box = tuple(slice(at, at + 9) for at in corner)
        mask[box] = rng.integers(0, 2, mask[box].shape)
        writer.save(state, {KEY: [tuple(slice(*span.indices(n)[:2]) for span, n in zip(box, shape, strict=True))]})
        np.testing.assert_array_equal(held_on_disk(tmp_path), mask)
    assert mask.any()
    many = len(read_document(tmp_path).strokes[0].held)
    writer.tidy()
    assert len(read_document(tmp_path).strokes[0].held) < many
    assert len(list((tmp_path / "strokes").iterdir())) == sum(
        len(names) for entry in read_document(tmp_path).strokes for names in (entry.packs, entry.held)
    )
    np.testing.assert_array_equal(held_on_disk(tmp_path), mask)
    np.testing.assert_array_equal(on_disk(tmp_path)["s1"], labels)
    mask[:] = 0
    writer.save(state, {KEY: None})
    assert read_document(tmp_path).strokes[0].held == ()


def test_a_session_from_before_masks_were_kept_opens(tmp_path: Path, state_of: Any) -> None:
    SessionWriter(tmp_path).save(state_of({"s1": np.ones((9, 9), np.uint8)}))
    file = tmp_path / DOCUMENT_NAME
    content = json.loads(file.read_text())
    del content["strokes"][0]["held"]
    file.write_text(json.dumps(content))
    assert read_document(tmp_path).strokes[0].held == ()
