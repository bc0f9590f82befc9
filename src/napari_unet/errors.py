"""The errors that napari-unet raises, so that a window or a terminal can show them as one line.

Every message is written for the person who uses the program: it names what is wrong and what to do.
"""

from __future__ import annotations

__all__ = [
    "AnnotationError",
    "DeviceError",
    "FileFormatError",
    "InputError",
    "MemoryLimitError",
    "ModelFileError",
    "ProcessLostError",
    "SessionError",
    "UNetError",
    "is_out_of_memory",
]


class UNetError(Exception):
    """Base of all errors that napari-unet raises on purpose."""


class InputError(UNetError, ValueError):
    """An image, a setting or a combination of them can't be used."""


class AnnotationError(InputError):
    """The strokes can't be used: nothing painted, one class only, another shape than the image."""


class FileFormatError(InputError):
    """A file can't be read as an image or an annotation."""


class ModelFileError(UNetError):
    """A model file is truncated, altered, foreign or from a newer version."""


class DeviceError(UNetError):
    """The device that was asked for is not there."""


class MemoryLimitError(UNetError):
    """The job does not fit into the memory of the device, even in the smallest pieces."""


class ProcessLostError(UNetError):
    """One of the processes that train together was killed, or does not answer."""


class SessionError(UNetError):
    """A saved session is missing, damaged, foreign or from a newer version."""


_MEMORY_SIGNS = (
    "not enough memory",
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the device or the computer was not enough.

    PyTorch has a class of its own only for graphics cards; for the computer's memory it is known by its words.

    Examples
    --------
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory"))
    (True, True)
    >>> is_out_of_memory(RuntimeError("The size of tensor a must match the size of tensor b"))
    False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _MEMORY_SIGNS)
