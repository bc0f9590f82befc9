"""Whether the person has been through the first steps: one small file in their settings folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from napari_unet.data.storage import atomic_path

__all__ = ["forget_first_steps", "have_seen_first_steps", "remember_first_steps", "settings_folder"]

_VARIABLE = "NAPARI_UNET_SETTINGS"
_NAME = "first-steps-seen"


def settings_folder() -> Path:
    """Return where the person's choices are kept: their settings folder, or what NAPARI_UNET_SETTINGS names."""
    return Path(os.environ.get(_VARIABLE) or platformdirs.user_config_dir("napari-unet", appauthor=False))


def have_seen_first_steps() -> bool:
    """Whether the first steps were done or put away."""
    return (settings_folder() / _NAME).is_file()


def remember_first_steps() -> None:
    """Do not show the first steps by themselves any more."""
    settings_folder().mkdir(parents=True, exist_ok=True)
    with atomic_path(settings_folder() / _NAME) as path:
        path.write_text("The first steps in the dock were done or put away.\n", encoding="utf-8")


def forget_first_steps() -> None:
    """Show the first steps again."""
    (settings_folder() / _NAME).unlink(missing_ok=True)
