"""Loading PyTorch without stopping the window.

Importing torch opens shared libraries of several hundred megabytes while Python's global lock is held, which freezes
the window for 0.15 to 0.6 s even when the import runs in a worker. Opened beforehand through a foreign call, which
gives the lock away, they cost the window nothing, and the import finds them open.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

__all__ = ["load_torch"]

_RTLD_NOW = 2


def load_torch() -> None:
    """Import torch; call it in a worker's thread."""
    if "torch" in sys.modules:
        return
    _open_libraries()
    import torch  # noqa: F401


def _open_libraries() -> None:
    """Open the libraries of torch with the global lock given away; where that can't be, the import opens them."""
    if sys.platform not in ("linux", "darwin"):
        return
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return
    folder = Path(found.origin).parent / "lib"
    system = ctypes.CDLL(None)
    system.dlopen.restype = ctypes.c_void_p
    system.dlopen.argtypes = [ctypes.c_char_p, ctypes.c_int]
    for name in ("libtorch_python.so", "libtorch_python.dylib"):
        if (folder / name).is_file():
            system.dlopen(str(folder / name).encode(), _RTLD_NOW)  # a failure shows at the import, with its reason
