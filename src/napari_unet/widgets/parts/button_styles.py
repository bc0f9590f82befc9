"""The look of the buttons that start and stop long work."""

from __future__ import annotations

__all__ = ["START", "STOP"]

_BUTTON = (
    "QPushButton {{ background: {ground}; color: white; font-weight: 600; padding: 7px; border-radius: 3px; }}"
    "QPushButton:hover {{ background: {hover}; }} QPushButton:disabled {{ background: rgba(128, 128, 128, 60); }}"
)
START = _BUTTON.format(ground="#1f7a5f", hover="#279373")
STOP = _BUTTON.format(ground="#a8483a", hover="#bf5848")
