"""The process of one window, without torch of its own: ``python -m benchmarks.live.window CHOICES --window FILE``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.live.scenes import load_scene
from benchmarks.live.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("choices", type=json.loads, help="options of benchmarks.live, and the set, as JSON")
    parser.add_argument("--window", type=Path, help="gets what was measured, as JSON")
    options = parser.parse_args()
    choices = options.choices
    scene = load_scene(choices["set"], choices["size"])
    session = Session(
        scene, canvas=choices["canvas"], threads=choices["window_threads"], seed=choices["seed"],
        looking=choices["looking"], panning=choices["panning"],
    )  # fmt: skip
    options.window.write_text(json.dumps(session.run(choices["rounds"], choices["minutes"])))


if __name__ == "__main__":
    main()
