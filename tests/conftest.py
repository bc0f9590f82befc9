"""What all tests share: the real images, fixed random numbers, and settings that leave the person's own alone."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

# Read by napari when it is first imported: tests neither read nor change the settings of whoever runs them.
_SETTINGS_FOLDER = tempfile.TemporaryDirectory(prefix="napari-unet-tests-", ignore_cleanup_errors=True)
os.environ["NAPARI_CONFIG"] = str(Path(_SETTINGS_FOLDER.name) / "settings.yaml")
os.environ["NAPARI_UNET_SESSIONS"] = str(Path(_SETTINGS_FOLDER.name) / "sessions")
os.environ["NAPARI_UNET_SETTINGS"] = str(Path(_SETTINGS_FOLDER.name) / "choices")
if sys.platform == "linux" and not os.environ.get("DISPLAY") and shutil.which("Xvfb") is None:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest

# napari's own fixtures (make_napari_viewer), where napari is installed
pytest_plugins = [point.value for point in metadata.entry_points(group="pytest11", name="napari")]

ROOT = Path(__file__).resolve().parent.parent


def _data_folder() -> Path:
    return Path(os.environ.get("NAPARI_UNET_DATA") or ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], dict[str, np.ndarray]]:
    """Return ``real_data("nuclei_fluo_dsb2018")``: the arrays of a real annotated set; skips where it is missing."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = _data_folder() / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"the real images {path.name} are not in {path.parent}; NAPARI_UNET_DATA names their folder")
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    return load


@pytest.fixture
def rng() -> np.random.Generator:
    """Return random numbers that are the same in every run."""
    return np.random.default_rng(20150518)


@pytest.fixture(autouse=True)
def _same_torch_in_every_test() -> None:
    """Start each test from the same random numbers and one thread, whatever the tests before it changed."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _skip_without_a_window(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("window") and os.environ.get("QT_QPA_PLATFORM") in {"offscreen", "minimal"}:
        pytest.skip("needs a display with OpenGL, or Xvfb")
