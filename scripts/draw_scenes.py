"""Draws a sheet of synthetic scenes, each beside a map of what is in it: `python scripts/draw_scenes.py --help`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_unet.data.scenes.kinds import COLOUR_KINDS, GREY_KINDS, draw_kind
from napari_unet.data.scenes.scene import Scene

SHEET = Path(__file__).parent.parent / "docs" / "images" / "synthetic_scenes.jpg"
COLOURS = np.array(
    [[40, 40, 40], [230, 60, 60], [60, 180, 230], [250, 210, 60], [120, 220, 90], [200, 110, 240], [250, 150, 50]]
)


def main() -> None:
    kinds = {kind.__name__: kind for kind in (*GREY_KINDS, *COLOUR_KINDS)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=SHEET, help=f"the picture's file (default: {SHEET.name})")
    parser.add_argument("--kind", choices=sorted(kinds), help="only this kind, two scenes of each style")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--size", type=int, default=256, help="pixels of a scene along each side")
    parser.add_argument("--shown", type=int, default=128, help="pixels that it gets in the picture")
    parser.add_argument("--ndim", type=int, default=2, choices=[2, 3], help="3: the middle slice of stacks")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    shape = (chosen.size,) * 2 if chosen.ndim == 2 else (32, chosen.size, chosen.size)
    tiles = []
    for number in range(chosen.rows * chosen.columns):
        style = np.random.default_rng([chosen.seed, number // 2 if chosen.kind else number])
        kind = kinds[chosen.kind].draw(style, chosen.ndim) if chosen.kind else draw_kind(style, chosen.ndim)
        tiles.append(side_by_side(kind.scene(np.random.default_rng([chosen.seed, number, 1]), shape), chosen.shown))
    rows = [np.concatenate(tiles[k : k + chosen.columns], axis=1) for k in range(0, len(tiles), chosen.columns)]
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(chosen.out)


def side_by_side(scene: Scene, shown: int) -> npt.NDArray[np.uint8]:
    """Return (shown, 2 * shown, 3): the image and its regions, of a stack those of the middle slice."""
    image, regions = scene.image, scene.regions
    if regions.ndim == 3:
        image, regions = image[:, len(regions) // 2], regions[len(regions) // 2]
    pictures = [in_colour(image), COLOURS[regions % len(COLOURS)].astype(np.uint8)]
    fitted = [Image.fromarray(picture).resize((shown, shown), Image.Resampling.LANCZOS) for picture in pictures]
    return np.concatenate([np.asarray(picture) for picture in fitted], axis=1)


def in_colour(image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Show the first three channels, or the only one in grey, from the darkest to the brightest."""
    channels = image[[0, 0, 0] if len(image) == 1 else [0, 1, min(2, len(image) - 1)]]
    low, high = np.percentile(channels, [0.3, 99.8])
    return (255 * np.clip((channels - low) / (high - low + 1e-6), 0, 1)).astype(np.uint8).transpose(1, 2, 0)


if __name__ == "__main__":
    main()
