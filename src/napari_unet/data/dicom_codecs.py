"""Compressed DICOM that pydicom has no decoder for by itself: lossless JPEG, JPEG-LS, and JPEG with 12 bits.

The decoders are those of imagecodecs, which napari-unet needs for TIFF in any case. The names at the module's level are
what pydicom asks of a plugin for decoding.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import imagecodecs

__all__ = ["DECODER_DEPENDENCIES", "add_decoders", "decode_frame", "is_available"]

_DECODERS = {  # by transfer syntax
    "1.2.840.10008.1.2.4.51": imagecodecs.jpeg8_decode,  # JPEG of 8 or 12 bits
    "1.2.840.10008.1.2.4.57": imagecodecs.jpegsof3_decode,  # lossless JPEG
    "1.2.840.10008.1.2.4.70": imagecodecs.jpegsof3_decode,  # the same in the usual form
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_decode,
    "1.2.840.10008.1.2.4.81": imagecodecs.jpegls_decode,  # near-lossless
}
DECODER_DEPENDENCIES = dict.fromkeys(_DECODERS, ("imagecodecs",))


def is_available(syntax: str) -> bool:
    """Whether files of a transfer syntax can be decoded."""
    return syntax in _DECODERS


def decode_frame(source: bytes, runner: Any) -> bytes:
    """Decode a frame; `runner` is pydicom's ``DecodeRunner``, which is told how the pixels lie in the result."""
    pixels = _DECODERS[str(runner.transfer_syntax)](source)
    runner.set_option("bits_allocated", 8 * pixels.itemsize)
    if pixels.ndim > 2:
        runner.set_option("planar_configuration", 0)
    return bytes(pixels.tobytes())


@cache
def add_decoders() -> None:
    """Have pydicom know these decoders."""
    from pydicom.pixels.decoders.base import get_decoder

    for syntax in _DECODERS:
        get_decoder(syntax).add_plugin("napari-unet", (__name__, "decode_frame"))
