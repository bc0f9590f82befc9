"""The package as it is installed: its entry points, its manifest, its wheel and its tested versions."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import npe2
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import napari_unet

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return path


def test_the_installed_version_is_the_one_in_the_source() -> None:
    assert metadata.version("napari-unet") == napari_unet.__version__


def test_every_public_name_can_be_loaded() -> None:
    assert [name for name in napari_unet.__all__ if getattr(napari_unet, name, None) is None] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = napari_unet.no_such_name


def test_the_command_is_installed_and_loads() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="napari-unet")
    assert callable(command.load())


def test_the_manifest_is_found_in_the_install() -> None:
    manifest = npe2.PluginManifest.from_distribution("napari-unet")
    assert manifest.name == "napari-unet"
    assert manifest.package_version == napari_unet.__version__


def test_the_manifest_names_only_functions_and_widgets_that_exist() -> None:
    manifest = npe2.PluginManifest.from_file(ROOT / "src" / "napari_unet" / "napari.yaml")
    manifest.validate_imports()


def test_the_manifest_at_the_root_is_a_link_to_the_packaged_one() -> None:
    link = ROOT / "napari.yaml"
    if os.name == "nt" and not link.is_symlink():
        pytest.skip("git checks links out as text files on Windows")
    assert Path(os.readlink(link)) == Path("src/napari_unet/napari.yaml")
    assert link.read_bytes() == (ROOT / "src" / "napari_unet" / "napari.yaml").read_bytes()


def test_the_wheel_holds_the_manifest_the_licence_all_modules_weights_and_help(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = [path for ending in ("py", "safetensors", "md") for path in (ROOT / "src").rglob(f"*.{ending}")]
    source = {path.relative_to(ROOT / "src").as_posix() for path in files}
    assert {f"napari_unet/help/{name}.md" for name in ("segment", "evaluate", "batch")} <= source
    assert source | {"napari_unet/napari.yaml", "napari_unet/py.typed"} <= names
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_napari_finds_the_manifest_in_the_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import npe2, napari_unet; m = npe2.PluginManifest.from_distribution('napari-unet');"
        "print(napari_unet.__file__); print(m.name, m.package_version)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)
    assert result.returncode == 0, result.stderr
    where, words = result.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert words == f"napari-unet {napari_unet.__version__}"


def test_the_metadata_says_licence_and_framework() -> None:
    described = metadata.metadata("napari-unet")
    assert described["License-Expression"] == "BSD-3-Clause"
    assert "Framework :: napari" in described.get_all("Classifier", [])
    assert described["Requires-Python"] == ">=3.11"


def test_the_hard_dependencies_bring_no_qt_binding_and_no_napari() -> None:
    names = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert not names & {"napari", "pyqt5", "pyqt6", "pyside2", "pyside6"}


def test_the_tested_versions_cover_and_fit_all_requirements() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if line and not line.startswith("#"))
    }
    assert pins["torch"] == "2.13.0"
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for requirement in map(Requirement, PROJECT["dependencies"] + extras):
        if requirement.name != "napari-unet":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
