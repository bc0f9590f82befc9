"""A window in a process of its own: with a display of its own where there is none, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["in_a_window"]

_MOST_CRASHES = 2
_CRASHED = (-11, 139)  # SIGSEGV of the process itself, or below xvfb-run
_ROOT = Path(__file__).resolve().parent.parent


def in_a_window(module: str, *arguments: object, screen: str = "1600x1000") -> Any:
    """Run ``python -m module ARGUMENTS --window FILE`` and return what it wrote into the file, as JSON.

    Drawing by software crashes a process now and then, with napari alone, too: then it is said and begun again, at most
    twice.

    Parameters
    ----------
    module : str
        Name of the module.
    *arguments : object
        Its arguments.
    screen : str
        Size of the display that is made under Linux where there is none.

    Raises
    ------
    SystemExit
        If there is no display, and none can be made.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        command = [sys.executable, "-m", module, *map(str, arguments), "--window", str(answer)]
        if sys.platform == "linux" and "DISPLAY" not in os.environ:
            if shutil.which("xvfb-run") is None:
                raise SystemExit("There is no display; install Xvfb, or run this in a desktop session.")
            command = ["xvfb-run", "-a", "-s", f"-screen 0 {screen}x24", *command]
        own = {"NAPARI_CONFIG": f"{folder}/settings.yaml", "NAPARI_UNET_SESSIONS": f"{folder}/sessions"}
        for crashes in range(_MOST_CRASHES + 1):
            status = subprocess.run(command, check=False, cwd=_ROOT, env=os.environ | own).returncode
            if status not in _CRASHED or crashes == _MOST_CRASHES:
                break
            print("The window crashed (SIGSEGV); it is begun again.", file=sys.stderr)
        if status:
            raise subprocess.CalledProcessError(status, command)
        return json.loads(answer.read_text())
