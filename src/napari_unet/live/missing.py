"""What is still to be painted, in words."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["words_for_answer", "words_for_score"]


def words_for_answer(painted: Sequence[str], names: Sequence[str]) -> str:
    """Say what is needed before there can be an answer, where fewer than two classes are painted.

    Examples
    --------
    >>> words_for_answer((), ("background", "cell"))
    'Paint a stroke of background and one of another class.'
    >>> words_for_answer(("background",), ("background", "cell", "debris"))
    'Only background is painted: paint a stroke of cell or debris, too.'
    """
    if not painted:
        return f"Paint a stroke of {names[0]} and one of another class."
    others = [name for name in names if name not in painted]
    return f"Only {painted[0]} is painted: paint a stroke of {' or '.join(others)}, too."


def words_for_score(counts: Sequence[tuple[str, int]]) -> str:
    """Say what is needed before a part can be held out.

    Examples
    --------
    >>> words_for_score([("background", 2), ("cell", 1)])
    'For a score, paint 2 more strokes of background and 1 more stroke of cell.'
    """
    parts = [f"{count} more stroke{'s' * (count > 1)} of {name}" for name, count in counts]
    return f"For a score, paint {' and '.join(filter(None, [', '.join(parts[:-1]), parts[-1]]))}."
