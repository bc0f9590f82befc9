"""Holding out strokes while they are painted: whole strokes, and each stays what it is while it exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_unet.live.painted import FREE, HELD, LEARNT, PaintedPart

__all__ = ["divide_strokes"]


@dataclass
class _Stroke:
    kind: int
    pixels: int
    fate: int


def divide_strokes(parts: Sequence[PaintedPart], share: float, rng: np.random.Generator) -> dict[int, int]:
    """Decide which strokes are held out, in place: about `share` of the pixels of each class.

    A stroke that was held out stays so, and what is added to it with it, until it is joined to one that was trained
    on, or is all that is left of its class. A stroke that was trained on is never held out. Only strokes of which
    neither is true are chosen from, at random, and one of each class always remains to be learnt.

    Parameters
    ----------
    parts : sequence of PaintedPart
        All that is painted, decoded.
    share : float
        Of the pixels, 0 to below 1; 0: nothing is held out.
    rng : numpy.random.Generator
        Source of the choice.

    Returns
    -------
    dict
        For each painted class, 1 more than its index: how many strokes are still to be painted until one of them can
        be held out; 0: one is.
    """
    listed = [_list_strokes(part) for part in parts]
    strokes = [stroke for own in listed for stroke in own]
    lacking = {}
    for kind in sorted({stroke.kind for stroke in strokes}):
        own = [stroke for stroke in strokes if stroke.kind == kind]
        _divide_class(own, share, rng)
        held = any(stroke.fate == HELD for stroke in own)
        lacking[kind] = 0 if held else 1
    for part, own in zip(parts, listed, strict=True):
        np.put(part.fate, part.places, np.array([stroke.fate for stroke in own], np.uint8)[part.strokes])
    return lacking


def _list_strokes(part: PaintedPart) -> list[_Stroke]:
    pixels = np.bincount(part.strokes)
    fates, kinds = part.fate.ravel()[part.places], np.zeros(len(pixels), np.uint8)
    learnt = np.bincount(part.strokes[fates == LEARNT], minlength=len(pixels))
    held = np.bincount(part.strokes[fates == HELD], minlength=len(pixels))
    kinds[part.strokes] = part.kinds.ravel()[part.places]
    return [
        _Stroke(kind, count, LEARNT if any_learnt else HELD if any_held else FREE)
        for kind, count, any_learnt, any_held in zip(
            kinds.tolist(), pixels.tolist(), learnt.tolist(), held.tolist(), strict=True
        )
    ]


def _divide_class(strokes: list[_Stroke], share: float, rng: np.random.Generator) -> None:
    """Choose among the strokes of one class."""
    total = sum(stroke.pixels for stroke in strokes)
    held = [stroke for stroke in strokes if stroke.fate == HELD]
    if held and (len(held) == len(strokes) or share == 0):
        largest = max(held, key=lambda stroke: stroke.pixels)
        for stroke in held if share == 0 else [largest]:
            stroke.fate = FREE
        held = [stroke for stroke in held if stroke.fate == HELD]
    free = [stroke for stroke in strokes if stroke.fate == FREE]
    taken, left = sum(stroke.pixels for stroke in held), len(strokes) - len(held)
    for stroke in (free[i] for i in rng.permutation(len(free))):
        if taken >= share * total or left < 2:
            return
        most = 1.5 * share * total if taken > 0 else 0.6 * total
        if taken + stroke.pixels <= most:
            stroke.fate = HELD
            taken, left = taken + stroke.pixels, left - 1
