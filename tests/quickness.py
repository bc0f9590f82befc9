"""Bounds on times, held against noise: a measurement over its bound is repeated, and the best of three counts.

A defect makes an action slow each time, another program does so now and then. While other programs keep the machine
busy, only a loose bound counts, since what is measured then says little about this one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ATTEMPTS = 3
QUIET_CORES = 0.4  # what other programs may use on a quiet machine; the X server is one of them


class Bound(NamedTuple):
    """The most that may be measured on a quiet machine, and on one that others keep busy."""

    quiet: float
    busy: float


BLOCK_MS = Bound(50, 400)  # for how long the window may not come to its turn
END_SECONDS = Bound(1, 10)  # until the work of something that is closed has ended


class Attempts:
    """Repeats an action until all that is measured of it is within its bounds, three times at most.

    Examples
    --------
    >>> for attempt in Attempts():
    ...     began = time.perf_counter()
    ...     total = sum(range(100))
    ...     attempt.hold("seconds", time.perf_counter() - began, Bound(1, 10))
    """

    def __init__(self) -> None:
        self._measured: dict[str, list[str]] = {}
        self._held: set[str] = set()
        self._began = self._elsewhere = 0.0

    def __iter__(self) -> Iterator[Attempts]:
        for _ in range(ATTEMPTS):
            self._began, self._elsewhere = time.perf_counter(), seconds_of_others()
            yield self
            if self._held >= self._measured.keys():
                return
        raise AssertionError(f"over the bound in each of {ATTEMPTS} attempts: {self}")

    def hold(self, what: str, value: float, bound: Bound) -> None:
        """Note what was measured in this attempt.

        Raises
        ------
        AssertionError
            If it is over the loose bound on a quiet machine: no noise is that large.
        """
        others = self.cores_of_others
        quiet = others < QUIET_CORES
        allowed = bound.quiet if quiet else bound.busy
        self._measured.setdefault(what, []).append(f"{value:.3g} of {allowed:.3g} ({others:.1f} cores used by others)")
        if value <= allowed:
            self._held.add(what)
        assert value <= bound.busy or not quiet, str(self)

    @property
    def cores_of_others(self) -> float:
        """How many cores other programs used on average since the attempt began."""
        return (seconds_of_others() - self._elsewhere) / max(0.1, time.perf_counter() - self._began)

    def __str__(self) -> str:
        return "; ".join(f"{what}: {', '.join(values)}" for what, values in self._measured.items())


def seconds_of_others() -> float:
    """Return the processor time that all other programs have used since the machine was started; 0 where unknown.

    A program that this one started and has waited for is none of them.
    """
    table = Path("/proc/stat")
    if not table.is_file():
        return 0.0
    user, nice, system, _, _, irq, soft, steal, *_ = map(float, table.read_text().split("\n", 1)[0].split()[1:])
    own = os.times()
    busy = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
    return busy - own.user - own.system - own.children_user - own.children_system
