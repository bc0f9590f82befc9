"""``python -m napari_unet`` is the command `napari-unet`; torchrun starts it this way."""

from napari_unet.cli import main

if __name__ == "__main__":
    main(prog_name="napari-unet")
