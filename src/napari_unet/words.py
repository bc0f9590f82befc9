"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["clock", "disk_size"]

_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def disk_size(size: int) -> str:
    """Write a number of bytes with a unit.

    Examples
    --------
    >>> disk_size(3_250_000), disk_size(41_300_000_000)
    ('3.2 MB', '41 GB')
    """
    unit, name = next((entry for entry in _UNITS if size >= entry[0]), _UNITS[-1])
    return f"{size / unit:.2g} {name}" if size < 10 * unit else f"{size / unit:,.0f} {name}"


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
