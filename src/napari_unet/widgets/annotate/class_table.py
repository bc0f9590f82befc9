"""The classes that a person paints: names, colours, keys and the current one, as plain data without Qt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from napari_unet.errors import InputError

__all__ = ["PALETTE", "ClassEntry", "ClassTable", "choose_keys"]

# Told apart also by people who see few colours (Okabe and Ito); the first is for background.
PALETTE = ("#56b4e9", "#e69f00", "#2bb58a", "#cc79a7", "#f0e442", "#d55e00", "#8f7bea", "#a3c940")

# Keys that napari's own tools leave free, the ones for two classes beside each other under the left hand.
_FREE_KEYS = ("Q", "W", "G", "H", "J", "K", "U")
_MOST_CLASSES = 200


def choose_keys(taken: Iterable[str], wanted: Sequence[str] = _FREE_KEYS) -> tuple[str, ...]:
    """Return those of the wanted keys that nobody has taken.

    Examples
    --------
    >>> choose_keys(["Q", "Ctrl+W"])[:2]
    ('W', 'G')
    """
    used = {key.upper() for key in taken}
    return tuple(key for key in wanted if key not in used)


@dataclass(frozen=True)
class ClassEntry:
    """One class.

    Attributes
    ----------
    name : str
        What the person calls it.
    colour : str
        ``"#rrggbb"``.
    """

    name: str
    colour: str


def _default_entries() -> list[ClassEntry]:
    return [ClassEntry("background", PALETTE[0]), ClassEntry("foreground", PALETTE[1])]


@dataclass
class ClassTable:
    """The classes in order; the first is background.

    The label of a class in the strokes is its place, counted from 1.

    Examples
    --------
    >>> table = ClassTable()
    >>> table.add(), table.names
    (2, ('background', 'foreground', 'class 3'))
    """

    entries: list[ClassEntry] = field(default_factory=_default_entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in order."""
        return tuple(entry.name for entry in self.entries)

    @property
    def colours(self) -> tuple[str, ...]:
        """The colours in order."""
        return tuple(entry.colour for entry in self.entries)

    def add(self, name: str = "", colour: str = "") -> int:
        """Add a class and return its index.

        Raises
        ------
        InputError
            If the name is there already, or there are too many classes.
        """
        if len(self) >= _MOST_CLASSES:
            raise InputError(f"There can be at most {_MOST_CLASSES} classes.")
        number = len(self) + 1
        while not name or (name in self.names and name.startswith("class ")):
            name = f"class {number}"
            number += 1
        self._check_name(name, None)
        unused = [shade for shade in PALETTE if shade not in self.colours]
        chosen = colour or (unused[0] if unused else PALETTE[len(self) % len(PALETTE)])
        self.entries.append(ClassEntry(name, chosen))
        return len(self) - 1

    def remove(self, index: int) -> None:
        """Remove the last class; see `check_removal`."""
        self.check_removal(index)
        del self.entries[index]

    def check_removal(self, index: int) -> None:
        """Check that a class can be removed: the ones before the last can't, since strokes have their numbers.

        Raises
        ------
        InputError
            If the class is not the last one, or one of the two that are always there.
        """
        if len(self) <= 2 or index < 2:
            raise InputError("Background and one more class are always there; rename the class instead.")
        if index != len(self) - 1:
            raise InputError(
                f"Remove '{self.names[-1]}' first: the strokes of the classes after '{self.names[index]}' would change."
            )

    def rename(self, index: int, name: str) -> None:
        """Give a class another name.

        Raises
        ------
        InputError
            If the name is empty or another class has it.
        """
        self._check_name(name.strip(), index)
        self.entries[index] = replace(self.entries[index], name=name.strip())

    def recolour(self, index: int, colour: str) -> None:
        """Give a class another colour, ``"#rrggbb"``."""
        self.entries[index] = replace(self.entries[index], colour=colour)

    def replace_all(self, names: Sequence[str]) -> None:
        """Take over the names of a model's classes; colours stay where they are."""
        kept = list(self.entries[: len(names)])
        for index, name in enumerate(names):
            if index < len(kept):
                kept[index] = replace(kept[index], name=name)
            else:
                kept.append(ClassEntry(name, PALETTE[index % len(PALETTE)]))
        self.entries[:] = kept

    def _check_name(self, name: str, index: int | None) -> None:
        if not name:
            raise InputError("A class needs a name.")
        if any(entry.name == name and place != index for place, entry in enumerate(self.entries)):
            raise InputError(f"There is already a class called '{name}'; choose another name.")
