"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["clock"]


def clock(seconds: float) -> str:
    """Write a duration as minutes and seconds, with hours where there are some.

    Examples
    --------
    >>> clock(42.3), clock(3725)
    ('0:42', '1:02:05')
    """
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
