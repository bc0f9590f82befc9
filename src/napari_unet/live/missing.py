"""What is still to be painted, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Missing", "find_missing"]


@dataclass(frozen=True)
class Missing:
    """What is to be painted before there can be an answer, or a score; by itself: nothing is.

    Attributes
    ----------
    text, counts, for_answer
        See `napari_unet.live.events.StrokesMissing`.
    """

    text: str = ""
    counts: tuple[tuple[str, int], ...] = ()
    for_answer: bool = False


def find_missing(lacking: Mapping[int, int], names: Sequence[str], *, for_score: bool) -> Missing:
    """Find out what is missing: before an answer a second class, before a score a stroke that can be held out.

    Parameters
    ----------
    lacking : mapping of int to int
        For each painted class, see `napari_unet.live.stable_holdout.divide_strokes`.
    names : sequence of str
        Of the classes, background first.
    for_score : bool
        Whether there is to be a score.

    Examples
    --------
    >>> find_missing({1: 0}, ("background", "cell", "debris"), for_score=True).text
    'Only background is painted: paint a stroke of cell or debris, too.'
    >>> find_missing({1: 0, 2: 1}, ("background", "cell", "debris"), for_score=True).counts
    (('cell', 1), ('debris', 2))
    """
    painted = [names[kind - 1] for kind in sorted(lacking)]
    if len(painted) < 2:
        return Missing(_words_for_answer(painted, names), for_answer=True)
    if not for_score:
        return Missing()
    wanted = [(name, lacking.get(kind, 2)) for kind, name in enumerate(names, start=1)]
    counts = tuple((name, count) for name, count in wanted if count)
    return Missing(_words_for_score(counts), counts) if counts else Missing()


def _words_for_answer(painted: Sequence[str], names: Sequence[str]) -> str:
    """Say what is needed before there can be an answer, where fewer than two classes are painted.

    Examples
    --------
    >>> _words_for_answer((), ("background", "cell"))
    'Paint a stroke of background and one of another class.'
    """
    if not painted:
        return f"Paint a stroke of {names[0]} and one of another class."
    others = [name for name in names if name not in painted]
    return f"Only {painted[0]} is painted: paint a stroke of {' or '.join(others)}, too."


def _words_for_score(counts: Sequence[tuple[str, int]]) -> str:
    """Say what is needed before a part can be held out.

    Examples
    --------
    >>> _words_for_score([("background", 2), ("cell", 1)])
    'For a score, paint 2 more strokes of background and 1 more stroke of cell.'
    """
    parts = [f"{count} more stroke{'s' * (count > 1)} of {name}" for name, count in counts]
    return f"For a score, paint {' and '.join(filter(None, [', '.join(parts[:-1]), parts[-1]]))}."
