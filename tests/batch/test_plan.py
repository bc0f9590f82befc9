"""Results get names of their own, and the format of their source."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_unet.batch.plan import BatchConfig, plan_targets
from napari_unet.errors import InputError


def _names(images: list[str], **options: str) -> list[str]:
    config = BatchConfig(Path("out"), **options)  # type: ignore[arg-type]
    return [target.labels.name for target in plan_targets([Path(image) for image in images], config)]


def test_format_follows_the_source() -> None:
    names = ["a.tif", "b.TIFF", "c.ome.tif", "d.png", "e.jpeg", "f.npy", "g.npz:h", "i.zarr", "j.nii", "k.nii.gz"]
    assert _names(names) == [
        "a_labels.tif", "b_labels.tif", "c_labels.tif", "d_labels.png", "e_labels.png", "f_labels.npy",
        "g_h_labels.tif", "i_labels.zarr", "j_labels.nii", "k_labels.nii.gz",
    ]  # fmt: skip


def test_dicom_becomes_nifti(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct.zarr").mkdir()
    (tmp_path / "ct.zarr" / "zarr.json").touch()
    assert _names([str(tmp_path / "ct"), f"{tmp_path / 'ct'}::1.2.3", str(tmp_path / "ct.zarr"), "slice.dcm"]) == [
        "ct_labels.nii.gz", "ct_1.2.3_labels.nii.gz", "ct_labels.zarr", "slice_labels.nii.gz",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("images", "kind", "stems"),
    [
        (["a.png", "a.tif"], "source", ["a", "a"]),
        (["a.png", "a.tif", "b.tif"], "tif", ["a_png", "a_tif", "b"]),
        (["A.tif", "a.tiff"], "source", ["A_tif", "a_tiff"]),
        (["p/w1.tif", "q/w1.tif"], "source", ["p_w1", "q_w1"]),
        (["p/x/w1.tif", "q/x/w1.tif"], "source", ["p_x_w1", "q_x_w1"]),
        (["a.png", "a.tif", "a_png.tif"], "tif", None),
        (["p/a.png", "q/a.png", "q/a.tif"], "tif", None),
    ],
)
def test_names_that_clash_are_told_apart(images: list[str], kind: str, stems: list[str] | None) -> None:
    names = _names(images, format=kind)
    assert len({name.casefold() for name in names}) == len(images)
    if stems is not None:
        assert [name[: name.rindex("_labels")] for name in names] == stems


def test_image_that_is_given_twice_is_told() -> None:
    with pytest.raises(InputError, match=r"a\.tif is given twice"):
        _names(["a.tif", "a.tif"])


def test_unknown_format_is_refused() -> None:
    with pytest.raises(InputError, match="one of source, tif"):
        BatchConfig(Path("out"), format="bmp")
