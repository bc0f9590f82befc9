"""The terminal's face of napari-unet: the command `napari-unet`."""

from napari_unet.cli.app import main

__all__ = ["main"]
