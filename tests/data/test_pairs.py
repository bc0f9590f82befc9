"""Annotations find their images by name, and the numbers in them are understood as the person said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_unet.data.files import write_image, write_labels
from napari_unet.data.pairs import pair_files, read_sample, to_annotation
from napari_unet.errors import AnnotationError, InputError


def _paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


@pytest.mark.parametrize(
    ("images", "annotations", "expected"),
    [
        (["a/c1.tif", "a/c2.tif"], ["b/c2.png", "b/c1.png"], [("a/c2.tif", "b/c2.png"), ("a/c1.tif", "b/c1.png")]),
        (["c1.ome.tif", "c2.ome.tif"], ["c1_strokes.tif"], [("c1.ome.tif", "c1_strokes.tif")]),
        (["img-01.tif", "img-02.tif"], ["Mask 02.png"], [("img-02.tif", "Mask 02.png")]),
        (["n.npz:image_00", "n.npz:image_01"], ["n.npz::label_01"], [("n.npz:image_01", "n.npz::label_01")]),
        (["cells.tif"], ["something else.tif"], [("cells.tif", "something else.tif")]),
        (["image.tif", "x.tif"], ["mask.tif", "labels.tif"], [("image.tif", "mask.tif"), ("x.tif", "labels.tif")]),
        (["p1.tif", "p1_labels.tif"], ["p1_labels.tif"], [("p1.tif", "p1_labels.tif")]),
    ],
)
def test_pairs_are_found(images: list[str], annotations: list[str], expected: list[tuple[str, str]]) -> None:
    pairing = pair_files(_paths(*images), _paths(*annotations))
    assert [tuple(map(str, pair)) for pair in pairing.pairs] == [tuple(map(str, map(Path, pair))) for pair in expected]


def test_images_without_annotation_are_listed() -> None:
    pairing = pair_files(_paths("c1.tif", "c2.tif", "c3.tif"), _paths("c2_mask.tif"))
    assert pairing.alone == tuple(_paths("c1.tif", "c3.tif"))
    assert pairing.by_name


def test_results_find_their_references_and_what_is_left_over_is_listed() -> None:
    results, references = (
        _paths("c1_labels.tif", "c2_labels.tif", "c4_labels.tif"),
        _paths("c1.tif", "c2.tif", "c3.tif"),
    )
    pairing = pair_files(results, references, every=False, called=("result", "reference"))
    assert pairing.pairs == tuple(zip(results[:2], references[:2], strict=True))
    assert pairing.alone == (results[2],)
    assert pairing.unused == (references[2],)
    with pytest.raises(InputError, match=r"no result for the reference c3\.tif"):
        pair_files(results, references, called=("result", "reference"))


def test_order_decides_only_where_no_name_does() -> None:
    assert not pair_files(_paths("a.tif", "b.tif"), _paths("y.tif", "z.tif")).by_name
    with pytest.raises(InputError, match=r"no image for the annotation z\.tif"):
        pair_files(_paths("a.tif", "b.tif"), _paths("b.png", "z.tif"))


@pytest.mark.parametrize(
    ("images", "annotations", "words"),
    [
        ([], ["a.tif"], "at least one image"),
        (["a.tif"], ["a.tif"], "at least one image"),
        (["a.tif", "b.tif", "c.tif"], ["x.tif", "y.tif"], "3 images but 2 annotations"),
        (["a/c1.tif", "b/c1.tif"], ["c1.png"], "too alike"),
        (["c1.tif", "c2.tif"], ["c1.png", "c1_mask.png"], "too alike"),
    ],
)
def test_what_does_not_come_out_is_refused(images: list[str], annotations: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pair_files(_paths(*images), _paths(*annotations))


def test_annotation_encoding_is_left_as_it_is() -> None:
    strokes = np.array([[0, 1], [2, 300]])
    assert to_annotation(strokes, "YX").tolist() == strokes.tolist()
    assert to_annotation(strokes, "YX").dtype == np.uint16
    assert to_annotation(strokes, "YX", unpainted_is_background=True).tolist() == [[1, 1], [2, 300]]


@pytest.mark.parametrize(
    ("task", "labels", "expected"),
    [
        ("objects", [[0, 1, 1, 0, 7]], [[1, 2, 2, 1, 8]]),
        ("objects", [[0, 255, 255, 0, 255]], [[1, 2, 2, 1, 3]]),
        ("objects", [[False, True, True, False, True]], [[1, 2, 2, 1, 3]]),
        ("classes", [[0, 1, 1, 0, 2]], [[1, 2, 2, 1, 3]]),
        ("classes", [[0, 255, 255, 0, 255]], [[1, 2, 2, 1, 2]]),
        ("classes", [[0, 3, 200, 200, 3]], [[1, 2, 3, 3, 2]]),
    ],
)
def test_ground_truth_becomes_background_and_the_rest(task: str, labels: list[object], expected: list[object]) -> None:
    assert to_annotation(np.array(labels), "YX", task, labels_are="ground-truth").tolist() == expected


def test_pieces_of_a_mask_hang_together_in_space_but_not_over_time() -> None:
    mask = np.ones((3, 4, 5), bool)
    assert to_annotation(mask, "ZYX", labels_are="ground-truth").max() == 2
    moving = to_annotation(mask, "TYX", labels_are="ground-truth")
    assert [np.unique(frame).tolist() for frame in moving] == [[2], [3], [4]]


def test_highest_object_of_a_ground_truth_does_not_overflow() -> None:
    labels = np.array([[0, 254, 255]], np.uint8)
    assert to_annotation(labels, "YX", labels_are="ground-truth").tolist() == [[1, 255, 256]]


def test_empty_ground_truth_is_refused_by_name(tmp_path: Path) -> None:
    write_image(tmp_path / "x.tif", np.zeros((4, 5), np.uint8), "YX")
    with pytest.raises(AnnotationError, match=r"x\.tif: It holds nothing but 0"):
        read_sample(tmp_path / "x.tif", tmp_path / "x.tif", labels_are="ground-truth")


def test_sample_carries_what_the_image_file_says(tmp_path: Path) -> None:
    image = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    strokes = np.zeros((3, 4, 5), np.uint8)
    strokes[1] = 2
    write_image(tmp_path / "x.tif", image, "ZYX", (2.0, 0.5, 0.5))
    write_labels(tmp_path / "x_strokes.tif", strokes, "ZYX")
    sample = read_sample(tmp_path / "x.tif", tmp_path / "x_strokes.tif")
    assert (sample.axes, sample.spacing, sample.name) == ("ZYX", (2.0, 0.5, 0.5), "x.tif")
    assert np.array_equal(sample.image, image)
    assert np.array_equal(sample.annotation, strokes)
    assert read_sample(tmp_path / "x.tif", tmp_path / "x_strokes.tif", axes="tyx").axes == "TYX"
